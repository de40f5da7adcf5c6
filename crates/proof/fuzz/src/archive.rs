//! A directory as one row of bytes: for each file the length of its name, the name, four bytes of length,
//! the content. Any bytes can be taken apart: what does not fit is shortened.

/// Files, with their names.
pub type Files = Vec<(String, Vec<u8>)>;

/// Puts files together.
pub fn pack(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, content) in files {
        out.push(name.len() as u8);
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(&(content.len() as u32).to_le_bytes());
        out.extend_from_slice(content);
    }
    out
}

/// Takes files apart. Names that could not be in a directory are left out.
pub fn unpack(mut data: &[u8]) -> Files {
    const FILES_MAX: usize = 24;
    let mut files = Files::new();
    while let Some((length, rest)) = data.split_first() {
        let (name, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        let Some((length, rest)) = rest.split_first_chunk::<4>() else { break };
        let length = u32::from_le_bytes(*length) as usize;
        let (content, rest) = rest.split_at(length.min(rest.len()));
        data = rest;
        let Ok(name) = std::str::from_utf8(name) else { continue };
        let plain = !name.is_empty() && !name.contains('/') && name != "." && name != "..";
        if plain && files.iter().all(|(known, _)| known != name) {
            files.push((name.to_owned(), content.to_vec()));
        }
        if files.len() == FILES_MAX {
            break;
        }
    }
    files
}

//! Something made of files, made anew when they change.
//!
//! Always true: what cannot be used never takes the place of what can; the same bad files are tried, and
//! complained of, once.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;

/// Is told what becomes of files that were changed.
pub trait Watch: Send + Sync + 'static {
    /// The files were changed, and are in force.
    fn reloaded(&self, files: &[PathBuf]);
    /// The files were changed and cannot be used; what was read before stays in force.
    fn kept(&self, files: &[PathBuf], why: &str);
}

/// What changes about a file when it is replaced or written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

type Stamps = Vec<Option<Stamp>>;

/// A value made of files.
pub(crate) struct Reloading<T> {
    files: Vec<PathBuf>,
    make: Box<dyn Fn() -> Result<T, String> + Send + Sync>,
    current: ArcSwap<T>,
    /// The files as they were when they were last read, well or badly.
    tried: Mutex<Stamps>,
    watch: Arc<dyn Watch>,
}

impl<T> Reloading<T> {
    /// Reads the files for the first time. Empty paths are no files.
    ///
    /// # Errors
    /// Whatever `make` says.
    pub fn new<E: std::fmt::Display>(
        files: Vec<PathBuf>,
        make: impl Fn() -> Result<T, E> + Send + Sync + 'static,
        watch: Arc<dyn Watch>,
    ) -> Result<Reloading<T>, E> {
        Reloading::begin(files, make, watch, |made| made)
    }

    /// The same where there is a way to begin without the files: `first` makes the value out of what the first reading
    /// came to. Later readings that fail still leave what was there.
    ///
    /// # Errors
    /// Whatever `first` says.
    pub fn begin<E: std::fmt::Display, F>(
        files: Vec<PathBuf>,
        make: impl Fn() -> Result<T, E> + Send + Sync + 'static,
        watch: Arc<dyn Watch>,
        first: impl FnOnce(Result<T, E>) -> Result<T, F>,
    ) -> Result<Reloading<T>, F> {
        let files: Vec<_> = files.into_iter().filter(|path| !path.as_os_str().is_empty()).collect();
        // Before they are read: a change meanwhile is then seen at the next look.
        let tried = Mutex::new(stamps(&files));
        let current = ArcSwap::from_pointee(first(make())?);
        let make = Box::new(move || make().map_err(|error| error.to_string()));
        Ok(Reloading { files, make, current, tried, watch })
    }

    /// The value of the newest files that could be used.
    pub fn current(&self) -> Arc<T> {
        let now = stamps(&self.files);
        // Whoever finds the lock taken goes on with what is there.
        if let Ok(mut tried) = self.tried.try_lock()
            && *tried != now
        {
            *tried = now;
            match (self.make)() {
                Ok(made) => {
                    self.current.store(Arc::new(made));
                    self.watch.reloaded(&self.files);
                }
                Err(why) => self.watch.kept(&self.files, &why),
            }
        }
        self.current.load_full()
    }
}

fn stamps(files: &[PathBuf]) -> Stamps {
    let stamp = |path: &PathBuf| {
        let found = fs::metadata(path).ok()?;
        Some(Stamp {
            device: found.dev(),
            inode: found.ino(),
            bytes: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
        })
    };
    files.iter().map(stamp).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Heard(Mutex<Vec<String>>);

    impl Watch for Heard {
        fn reloaded(&self, _: &[PathBuf]) {
            self.0.lock().expect("no panic").push("reloaded".to_owned());
        }

        fn kept(&self, _: &[PathBuf], why: &str) {
            self.0.lock().expect("no panic").push(format!("kept: {why}"));
        }
    }

    #[test]
    fn a_bad_file_keeps_what_was_there_and_is_complained_of_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("number");
        fs::write(&path, "1").expect("written");
        let heard = Arc::new(Heard::default());
        let read = path.clone();
        let make = move || fs::read_to_string(&read).expect("readable").parse::<u32>();
        let number = Reloading::new(vec![path.clone(), PathBuf::new()], make, heard.clone());
        let number = number.expect("a number");
        assert_eq!(*number.current(), 1);

        fs::write(&path, "none").expect("written");
        assert_eq!(*number.current(), 1);
        assert_eq!(*number.current(), 1);
        fs::write(&path, "22").expect("written");
        assert_eq!(*number.current(), 22);
        let heard = heard.0.lock().expect("no panic").clone();
        assert_eq!(heard, ["kept: invalid digit found in string", "reloaded"]);
    }
}

//! The header fields that a block may name by number.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::head::Field;
use crate::settings::TABLE_BYTES_DEFAULT;

/// RFC 7541, appendix A; the first one is number 1.
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// Numbers from here on name what was added.
pub(super) const FIRST_ADDED: usize = STATIC.len() + 1;

/// What a field counts beside its bytes (RFC 7541, 4.1).
pub(crate) const FIELD_OVERHEAD_BYTES: usize = 32;

/// The fields a client has added, newest first, no more than their bytes may be.
#[derive(Debug)]
pub(super) struct Table {
    added: VecDeque<Field>,
    bytes: usize,
    bytes_max: usize,
}

impl Table {
    pub fn new() -> Table {
        Table { added: VecDeque::new(), bytes: 0, bytes_max: TABLE_BYTES_DEFAULT }
    }

    /// The field of a number.
    pub fn get(&self, number: usize) -> Option<Field> {
        match number.checked_sub(FIRST_ADDED) {
            Some(added) => self.added.get(added).cloned(),
            None => {
                let (name, value) = STATIC.get(number.checked_sub(1)?)?;
                let [name, value] = [name, value].map(|text| Bytes::from_static(text.as_bytes()));
                Some(Field { name, value })
            }
        }
    }

    /// Adds a field; one that is larger than the table empties it.
    pub fn add(&mut self, field: Field) {
        let bytes = counted(&field);
        self.evict(self.bytes_max.saturating_sub(bytes));
        if bytes <= self.bytes_max {
            self.bytes += bytes;
            self.added.push_front(field);
        }
    }

    /// Changes how large the table may be.
    pub fn resize(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
        self.evict(bytes_max);
    }

    fn evict(&mut self, bytes_max: usize) {
        while self.bytes > bytes_max {
            let oldest = self.added.pop_back().expect("an empty table has no bytes");
            self.bytes -= counted(&oldest);
        }
    }
}

/// What a field takes of a table or of a header list, in bytes.
pub(super) fn counted(field: &Field) -> usize {
    field.name.len() + field.value.len() + FIELD_OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &'static str, bytes: usize) -> Field {
        let value = vec![b'v'; bytes - name.len() - FIELD_OVERHEAD_BYTES].into();
        Field { name: Bytes::from_static(name.as_bytes()), value }
    }

    #[test]
    fn numbers_name_first_the_fixed_fields_then_the_newest() {
        let mut table = Table::new();
        table.add(field("a", 100));
        table.add(field("b", 100));
        assert_eq!(table.get(0), None);
        assert_eq!(table.get(1).expect("fixed").name, ":authority");
        assert_eq!(table.get(61).expect("fixed").name, "www-authenticate");
        assert_eq!(table.get(62).expect("added").name, "b");
        assert_eq!(table.get(63).expect("added").name, "a");
        assert_eq!(table.get(64), None);
    }

    #[test]
    fn the_oldest_leave_when_room_is_needed() {
        let mut table = Table::new();
        for name in ["a", "b", "c"] {
            table.add(field(name, 1365));
        }
        assert_eq!(table.added.len(), 3, "4095 bytes fit");
        table.add(field("d", 33));
        assert_eq!(table.get(64).expect("the oldest left").name, "b");
        table.resize(1400);
        assert_eq!((table.added.len(), table.bytes), (2, 1398));
        table.add(field("e", 2000));
        assert_eq!((table.added.len(), table.bytes), (0, 0), "a field too large empties it");
    }
}

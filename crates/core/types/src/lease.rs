//! A lease's id, and how people read and write it.

use std::fmt;

/// A lease's id as clients see it. 0 means "no lease"; a client may choose a negative one.
pub type LeaseId = i64;

/// Writes a lease's id as Go writes it: in hexadecimal, a negative one with a sign.
///
/// It is not only for eyes: keys of locks and elections end in it, and clients of both kinds must make the
/// same key.
#[derive(Clone, Copy, Debug)]
pub struct LeaseHex(pub LeaseId);

impl fmt::LowerHex for LeaseHex {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad_integral(self.0 >= 0, "", &format!("{:x}", self.0.unsigned_abs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_negative_lease_has_a_sign_that_counts_as_a_digit() {
        for (id, bare, wide) in [
            (0x22fa, "22fa", "00000000000022fa"),
            (-0x4563_9182_44f4_0001, "-4563918244f40001", "-4563918244f40001"),
            (-5, "-5", "-000000000000005"),
            (i64::MIN, "-8000000000000000", "-8000000000000000"),
        ] {
            assert_eq!(format!("{:x}", LeaseHex(id)), bare);
            assert_eq!(format!("{:016x}", LeaseHex(id)), wide);
        }
    }
}

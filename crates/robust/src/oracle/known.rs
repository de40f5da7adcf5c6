//! The differences we mean to have. Each has its reason in `docs/differences.md` under the same name.

use super::Difference;

/// One difference, as narrow as it can be said.
#[derive(Debug)]
pub struct Known {
    /// Its name in `docs/differences.md`.
    pub name: &'static str,
    /// The request's path begins with this.
    pub method: &'static str,
    /// The field's path contains this.
    pub field: &'static str,
    /// The reference's value contains this.
    pub reference: &'static str,
    /// The subject's value contains this.
    pub subject: &'static str,
}

/// All of them.
pub const KNOWN: [Known; 0] = [];

/// The name of the known difference that this one is, if it is one.
pub fn explain(difference: &Difference) -> Option<&'static str> {
    let known = KNOWN.iter().find(|known| {
        difference.method.starts_with(known.method)
            && difference.field.contains(known.field)
            && difference.reference.contains(known.reference)
            && difference.subject.contains(known.subject)
    });
    known.map(|known| known.name)
}

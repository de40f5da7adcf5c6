//! Families: one name on the page, with one metric or one for each combination of label values.
//!
//! A group of families is a struct whose fields are the metrics themselves, made by the `families!`
//! macro from lines that give name, labels, buckets and help. The help text and the field's
//! documentation are one and the same.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::text::{Text, labels};
use crate::value::Metric;

/// What the page and the documentation need to know of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    /// The name, as etcd has it.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// The label names, in alphabetical order.
    pub labels: &'static [&'static str],
    /// One sentence.
    pub help: &'static str,
}

/// Something that appears on the page under one name.
pub trait Family {
    /// The word after `# TYPE`.
    fn kind(&self) -> &'static str;
    /// The label names.
    fn labels(&self) -> &'static [&'static str];
    /// Writes the sample lines, without HELP and TYPE.
    fn write(&self, name: &str, out: &mut Text);
    /// Whether there is nothing to write yet; such a family is left out altogether.
    fn is_empty(&self) -> bool;
}

impl<M: Metric> Family for M {
    fn kind(&self) -> &'static str {
        M::TYPE
    }

    fn labels(&self) -> &'static [&'static str] {
        &[]
    }

    fn write(&self, name: &str, out: &mut Text) {
        Metric::write(self, name, "", out);
    }

    fn is_empty(&self) -> bool {
        false
    }
}

/// One metric for each combination of label values, made at first use.
///
/// `with` takes a lock and looks in a map: resolve once and keep the `Arc` where it is hot.
#[derive(Debug)]
pub struct Vector<M: Metric> {
    names: &'static [&'static str],
    shape: M::Shape,
    children: Mutex<BTreeMap<Vec<String>, Arc<M>>>,
}

impl<M: Metric> Vector<M> {
    /// A family without members; the label names must be in alphabetical order.
    pub fn new(names: &'static [&'static str], shape: M::Shape) -> Vector<M> {
        assert!(names.is_sorted(), "label names stand in alphabetical order, as on the page");
        Vector { names, shape, children: Mutex::default() }
    }

    /// The metric with these label values, in the order of the label names.
    pub fn with(&self, values: &[&str]) -> Arc<M> {
        assert_eq!(values.len(), self.names.len(), "one value per label");
        let key = values.iter().map(|value| (*value).to_owned()).collect();
        let mut children = self.children.lock().unwrap_or_else(PoisonError::into_inner);
        children.entry(key).or_insert_with(|| Arc::new(M::new(&self.shape))).clone()
    }

    /// Forgets all: for families where the label *is* the value, before the new value is set.
    pub fn clear(&self) {
        self.children.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl<M: Metric> Family for Vector<M> {
    fn kind(&self) -> &'static str {
        M::TYPE
    }

    fn labels(&self) -> &'static [&'static str] {
        self.names
    }

    fn write(&self, name: &str, out: &mut Text) {
        let children = self.children.lock().unwrap_or_else(PoisonError::into_inner);
        for (values, metric) in children.iter() {
            metric.write(name, &labels(self.names, values), out);
        }
    }

    fn is_empty(&self) -> bool {
        self.children.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

/// A group of families that can be walked.
pub trait Group {
    /// Calls back with each family.
    fn visit<'a>(&'a self, each: &mut dyn FnMut(About, &'a dyn Family));
}

/// Declares a group: `/// Help.` then `field: Type(arguments of its making) = "name";`.
macro_rules! families {
    (
        $(#[$group_doc:meta])*
        pub struct $group:ident {
            $(#[doc = $help:literal] $field:ident : $kind:ty = $make:expr, $name:literal;)*
        }
    ) => {
        $(#[$group_doc])*
        #[derive(Debug)]
        pub struct $group {
            $(#[doc = $help] pub $field: $kind,)*
        }

        impl Default for $group {
            fn default() -> $group {
                $group { $($field: $make,)* }
            }
        }

        impl $crate::family::Group for $group {
            fn visit<'a>(
                &'a self,
                each: &mut dyn FnMut($crate::family::About, &'a dyn $crate::family::Family),
            ) {
                $({
                    let family: &dyn $crate::family::Family = &self.$field;
                    let about = $crate::family::About {
                        name: $name,
                        kind: family.kind(),
                        labels: family.labels(),
                        help: $help.trim_ascii(),
                    };
                    each(about, family);
                })*
            }
        }
    };
}
pub(crate) use families;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Counter;

    #[test]
    fn a_vector_appears_with_its_first_member_and_each_member_is_made_once() {
        let vector: Vector<Counter> = Vector::new(&["a", "b"], ());
        assert!(vector.is_empty());
        vector.with(&["2", "x"]).inc();
        vector.with(&["1", "x"]).inc();
        vector.with(&["2", "x"]).inc();
        let mut out = Text::default();
        Family::write(&vector, "m", &mut out);
        assert_eq!(out.finish(), "m{a=\"1\",b=\"x\"} 1\nm{a=\"2\",b=\"x\"} 2\n");
        vector.clear();
        assert!(vector.is_empty());
    }
}

//! What has been said so far, flag by flag, wherever it was said.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::flag::{Count, Does, Flag, GatesFlag, Signed, Span, Text, Truth, Urls, Value, Words};
use crate::gates::Gates;
use crate::note::Note;
use crate::table;
use crate::url::Url;
use go::GoDuration;

/// Values by flag; what nobody mentioned holds its default.
#[derive(Clone, Debug, Default)]
pub struct Values {
    said: BTreeMap<&'static str, Value>,
}

impl Values {
    /// Takes a value; a later one replaces an earlier one, gates add up.
    pub fn say(&mut self, flag: &Flag, value: Value) {
        if let (Some(Value::Gates(before)), Value::Gates(added)) =
            (self.said.get_mut(flag.name), &value)
        {
            before.extend(added);
        } else {
            self.said.insert(flag.name, value);
        }
    }

    /// Whether anybody mentioned the flag.
    pub fn is_said(&self, flag: &Flag) -> bool {
        self.said.contains_key(flag.name)
    }

    /// Whether anybody asked for something else than the default.
    pub fn differs(&self, flag: &Flag) -> bool {
        self.said.get(flag.name).is_some_and(|value| *value != flag.default_value())
    }

    fn value(&self, flag: &Flag) -> Value {
        self.said.get(flag.name).cloned().unwrap_or_else(|| flag.default_value())
    }

    /// Moves what former names said to the flags and gates that took over.
    ///
    /// The error is 3.6's text for saying a thing under both its names.
    pub fn settle_former_names(&mut self) -> Result<Vec<Note>, String> {
        let mut notes = Vec::new();
        for flag in table::all() {
            let Some(value) = self.said.get(flag.name).cloned() else { continue };
            match flag.does {
                Does::RenamedTo(successor) => {
                    let heir = table::find(successor).expect("a test holds it");
                    if self.is_said(heir) {
                        return Err(format!(
                            "cannot set --{} and --{successor} at the same time, please use \
                             --{successor} only",
                            flag.name
                        ));
                    }
                    self.said.remove(flag.name);
                    self.said.insert(heir.name, value);
                    notes.push(deprecated(flag.name, &format!("--{successor}")));
                }
                Does::IsGate(gate) => {
                    self.settle_gate(flag.name, gate, &value)?;
                    notes.push(deprecated(flag.name, &format!("--feature-gates={gate}")));
                }
                Does::Its | Does::Nothing(_) | Does::Refused(_) => {}
            }
        }
        Ok(notes)
    }

    fn settle_gate(&mut self, former: &str, gate: &str, value: &Value) -> Result<(), String> {
        let on = *value == Value::Bool(true);
        let mut gates = self.gates(table::FEATURE_GATES);
        if let Some(said) = gates.said(gate) {
            return Err(format!(
                "cannot specify both flags: --{former}={on} and --feature-gates={gate}={said} at \
                 the same time, please just use --feature-gates={gate}={said}"
            ));
        }
        gates.say(&format!("{gate}={on}")).expect("the table names known gates");
        self.said.remove(former);
        self.said.insert("feature-gates", Value::Gates(gates));
        Ok(())
    }

    /// The value of a truth flag.
    pub fn truth(&self, flag: Truth) -> bool {
        match self.value(&flag) {
            Value::Bool(value) => value,
            other => mismatch(&flag, &other),
        }
    }

    /// The value of a text, choice or phase flag.
    pub fn text(&self, flag: Text) -> String {
        match self.value(&flag) {
            Value::Text(value) => value,
            other => mismatch(&flag, &other),
        }
    }

    /// The value of an unsigned flag.
    pub fn unsigned(&self, flag: Count) -> u64 {
        match self.value(&flag) {
            Value::Unsigned(value) => value,
            other => mismatch(&flag, &other),
        }
    }

    /// The value of an unsigned flag as a size; what no memory can hold is as good as no bound.
    pub fn size(&self, flag: Count) -> usize {
        usize::try_from(self.unsigned(flag)).unwrap_or(usize::MAX)
    }

    /// The value of a signed flag.
    pub fn signed(&self, flag: Signed) -> i64 {
        match self.value(&flag) {
            Value::Signed(value) => value,
            other => mismatch(&flag, &other),
        }
    }

    /// The value of a duration flag.
    pub fn duration(&self, flag: Span) -> GoDuration {
        match self.value(&flag) {
            Value::Duration(value) => value,
            other => mismatch(&flag, &other),
        }
    }

    /// The value of a duration flag, of which zero and below mean `otherwise`.
    pub fn duration_or(&self, flag: Span, otherwise: Duration) -> Duration {
        self.duration(flag).positive().unwrap_or(otherwise)
    }

    /// The value of a URL flag.
    pub fn urls(&self, flag: Urls) -> Vec<Url> {
        match self.value(&flag) {
            Value::Urls(value) => value,
            other => mismatch(&flag, &other),
        }
    }

    /// The value of a flag that lists words.
    pub fn words(&self, flag: Words) -> Vec<String> {
        match self.value(&flag) {
            Value::Words(value) => value,
            other => mismatch(&flag, &other),
        }
    }

    /// The value of a flag that lists words of which `*` or nothing means all; then it is empty.
    pub fn words_or_all(&self, flag: Words) -> Vec<String> {
        let words = self.words(flag);
        let all = words.iter().any(|word| word == "*" || word.is_empty());
        if all { Vec::new() } else { words }
    }

    /// The value of the gates flag.
    pub fn gates(&self, flag: GatesFlag) -> Gates {
        match self.value(&flag) {
            Value::Gates(value) => value,
            other => mismatch(&flag, &other),
        }
    }
}

fn mismatch(flag: &Flag, value: &Value) -> ! {
    unreachable!("--{} was read as its kind, which is not that of {value:?}", flag.name)
}

fn deprecated(name: &str, successor: &str) -> Note {
    Note::warn(format!(
        "--{name} is deprecated in 3.6 and was decommissioned in 3.7. Use {successor} instead."
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(pairs: &[(&str, &str)]) -> Values {
        let mut values = Values::default();
        for (name, typed) in pairs {
            let flag = table::find(name).expect("known");
            values.say(flag, flag.kind.read(typed).expect("well formed"));
        }
        values
    }

    #[test]
    fn a_former_name_sets_its_successor_and_is_remarked_on() {
        let mut values = said(&[
            ("experimental-corrupt-check-time", "5s"),
            ("experimental-initial-corrupt-check", "true"),
        ]);
        assert_eq!(values.settle_former_names().expect("no clash").len(), 2);
        assert_eq!(values.duration(table::CORRUPT_CHECK_TIME), GoDuration::from_millis(5000));
        assert!(values.gates(table::FEATURE_GATES).is_on("InitialCorruptCheck"));
    }

    #[test]
    fn a_thing_said_under_both_its_names_is_refused() {
        let mut values =
            said(&[("experimental-corrupt-check-time", "5s"), ("corrupt-check-time", "5s")]);
        assert_eq!(
            values.settle_former_names(),
            Err("cannot set --experimental-corrupt-check-time and --corrupt-check-time at the \
                 same time, please use --corrupt-check-time only"
                .into())
        );
        let mut values = said(&[
            ("experimental-initial-corrupt-check", "true"),
            ("feature-gates", "InitialCorruptCheck=false"),
        ]);
        assert_eq!(
            values.settle_former_names(),
            Err("cannot specify both flags: --experimental-initial-corrupt-check=true and \
                 --feature-gates=InitialCorruptCheck=false at the same time, please just use \
                 --feature-gates=InitialCorruptCheck=false"
                .into())
        );
    }
}

//! What a flag is: its name, what it takes, what we do with it. The flags themselves are in `table`.

use std::ops::Deref;

use crate::gates::Gates;
use crate::url::Url;
use go::number::{NumberFault, signed, truth, unsigned, unsigned32};
use go::{GoDuration, quote};

/// One flag.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// Without dashes.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// What holds if nobody says anything, as one would type it.
    pub default: &'static str,
    /// The etcd releases that have it.
    pub releases: &'static str,
    /// What we do with it.
    pub does: Does,
    /// One sentence.
    pub help: &'static str,
}

/// A flag whose values are of one type: asking for it is asking for that type.
macro_rules! typed {
    ($($(#[$doc:meta])* $name:ident, [$kind:pat];)*) => {
        $($(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name(pub Flag);

        impl $name {
            /// Where the flag's kind is of another type, this does not compile.
            pub const fn of(flag: Flag) -> $name {
                assert!(matches!(flag.kind, $kind));
                $name(flag)
            }
        }

        impl Deref for $name {
            type Target = Flag;

            fn deref(&self) -> &Flag {
                &self.0
            }
        })*
    };
}

typed! {
    /// Holds a truth value.
    Truth, [Kind::Bool | Kind::Ignored];
    /// Holds a text.
    Text, [Kind::Text | Kind::Choice(_) | Kind::Phase(_)];
    /// Holds an unsigned number.
    Count, [Kind::Unsigned(_) | Kind::Unsigned32];
    /// Holds a signed number.
    Signed, [Kind::Signed(_)];
    /// Holds a length of time.
    Span, [Kind::Duration];
    /// Holds URLs.
    Urls, [Kind::Urls];
    /// Holds words.
    Words, [Kind::Words | Kind::Origins];
    /// Holds feature gates.
    GatesFlag, [Kind::Gates];
}

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A truth value.
    Bool,
    /// Any text.
    Text,
    /// An unsigned number; the name is that of its type in etcd, for error texts.
    Unsigned(&'static str),
    /// An unsigned number below 2^32.
    Unsigned32,
    /// A signed number, with the name of its type in etcd.
    Signed(&'static str),
    /// A length of time.
    Duration,
    /// URLs, separated by commas.
    Urls,
    /// Origins: `*`, or URLs separated by commas.
    Origins,
    /// Words, separated by commas.
    Words,
    /// One of these.
    Choice(&'static [&'static str]),
    /// Feature gates.
    Gates,
    /// One of these; etcd words the refusal differently.
    Phase(&'static [&'static str]),
    /// A switch of former times.
    Ignored,
}

/// What we do with a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Does {
    /// What its help says.
    Its,
    /// Nothing, and that is right: the reason.
    Nothing(&'static str),
    /// Any meaning but the default's is refused by name: the reason.
    Refused(&'static str),
    /// It is the former name of this flag.
    RenamedTo(&'static str),
    /// It is the former name of this feature gate.
    IsGate(&'static str),
}

/// A value that fits its flag's kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// For `Bool` and `Ignored`.
    Bool(bool),
    /// For `Text`, `Choice` and `Phase`.
    Text(String),
    /// For both unsigned kinds.
    Unsigned(u64),
    /// For `Signed`.
    Signed(i64),
    /// For `Duration`.
    Duration(GoDuration),
    /// For `Urls`.
    Urls(Vec<Url>),
    /// For `Words` and `Origins`.
    Words(Vec<String>),
    /// For `Gates`.
    Gates(Gates),
}

impl Kind {
    /// Whether it is a switch: needs no value, and takes one only after `=`.
    pub fn is_switch(self) -> bool {
        matches!(self, Kind::Bool | Kind::Ignored)
    }

    /// Reads what was typed; the error is the last part of Go's text.
    pub fn read(self, typed: &str) -> Result<Value, String> {
        let number = |fault: NumberFault| fault.flag_text().to_owned();
        match self {
            Kind::Bool => truth(typed).map(Value::Bool).ok_or_else(|| "parse error".to_owned()),
            Kind::Ignored => Ok(Value::Bool(true)),
            Kind::Text => Ok(Value::Text(typed.to_owned())),
            Kind::Unsigned(_) => unsigned(typed, 0).map(Value::Unsigned).map_err(number),
            Kind::Signed(_) => signed(typed, 0).map(Value::Signed).map_err(number),
            Kind::Unsigned32 => match unsigned32(typed) {
                Ok(value) => Ok(Value::Unsigned(value.into())),
                Err(fault) => {
                    let (typed, why) = (quote(typed), fault.strconv_text());
                    Err(format!("strconv.ParseUint: parsing {typed}: {why}"))
                }
            },
            Kind::Duration => {
                GoDuration::parse(typed).map(Value::Duration).map_err(|_| "parse error".to_owned())
            }
            Kind::Urls => Url::parse_list(typed).map(Value::Urls),
            Kind::Origins => {
                if typed != "*" {
                    Url::parse_list(typed)?;
                }
                Ok(Value::Words(words(typed)))
            }
            Kind::Words => Ok(Value::Words(words(typed))),
            Kind::Choice(choices) if choices.contains(&typed) => Ok(Value::Text(typed.to_owned())),
            Kind::Choice(_) => Err("invalid value".to_owned()),
            Kind::Phase(phases) if phases.contains(&typed) => Ok(Value::Text(typed.to_owned())),
            Kind::Phase(_) => Err(format!("invalid value {}", quote(typed))),
            Kind::Gates => {
                let mut gates = Gates::default();
                gates.say(typed)?;
                Ok(Value::Gates(gates))
            }
        }
    }

    /// The whole of Go's text for a value typed on the command line that was refused.
    pub fn refusal(self, name: &str, typed: &str, why: &str) -> String {
        let what = if self == Kind::Bool { "boolean value" } else { "value" };
        let preposition = if self == Kind::Bool { "for" } else { "for flag" };
        format!("invalid {what} {} {preposition} -{name}: {why}", quote(typed))
    }
}

fn words(typed: &str) -> Vec<String> {
    typed.split(',').map(str::to_owned).collect()
}

impl Flag {
    /// The environment variable that stands for the flag.
    pub fn variable(&self) -> String {
        format!("ETCD_{}", self.name.to_ascii_uppercase().replace('-', "_"))
    }

    /// The value that holds if nobody says anything.
    pub fn default_value(&self) -> Value {
        match self.kind {
            Kind::Ignored => Value::Bool(false),
            kind => kind.read(self.default).expect("a test reads every default"),
        }
    }
}

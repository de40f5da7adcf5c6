//! Feature gates: behaviour that an operator may switch on or off by name.

use go::number::truth;

/// How ripe a gate's feature is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Off unless asked for.
    Alpha,
    /// On unless refused.
    Beta,
}

impl Stage {
    /// As metrics and help spell it.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Alpha => "ALPHA",
            Stage::Beta => "BETA",
        }
    }
}

/// One gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gate {
    /// As it is typed.
    pub name: &'static str,
    /// How ripe it is.
    pub stage: Stage,
    /// Whether it is on if nobody says anything.
    pub default: bool,
    /// What it changes.
    pub help: &'static str,
    /// Why it changes nothing here, where that is so.
    pub idle: Option<&'static str>,
}

const fn gate(name: &'static str, stage: Stage, default: bool, help: &'static str) -> Gate {
    Gate { name, stage, default, help, idle: None }
}

const fn idle(
    name: &'static str,
    stage: Stage,
    default: bool,
    help: &'static str,
    why: &'static str,
) -> Gate {
    Gate { name, stage, default, help, idle: Some(why) }
}

/// Why gates about how members talk do nothing.
const AS_IT_IS: &str = "Between members it is as docs/peers.md says.";

/// All gates, in alphabetical order.
pub const GATES: &[Gate] = &[
    gate("AllAlpha", Stage::Alpha, false, "Switches all alpha gates."),
    gate("AllBeta", Stage::Beta, false, "Switches all beta gates."),
    gate("CompactHashCheck", Stage::Alpha, false, "The leader compares compaction hashes."),
    idle(
        "FastLeaseKeepAlive",
        Stage::Beta,
        true,
        "A leader renews leases without a round of reads.",
        "Leases are always renewed so.",
    ),
    gate(
        "InitialCorruptCheck",
        Stage::Alpha,
        false,
        "Compares data with the peers before serving.",
    ),
    gate("LeaseCheckpoint", Stage::Alpha, false, "Remaining times of leases survive a new leader."),
    gate(
        "LeaseCheckpointPersist",
        Stage::Alpha,
        false,
        "Remaining times of leases are stored too.",
    ),
    idle(
        "PriorityRequest",
        Stage::Alpha,
        false,
        "Requests that keep the cluster alive go first.",
        AS_IT_IS,
    ),
    idle(
        "SetMemberLocalAddr",
        Stage::Alpha,
        false,
        "Dials peers from an advertised address.",
        AS_IT_IS,
    ),
    idle(
        "StopGRPCServiceOnDefrag",
        Stage::Alpha,
        false,
        "Serves nobody while it defragments.",
        "Defragmenting never blocks here.",
    ),
    idle(
        "TxnModeWriteWithSharedBuffer",
        Stage::Beta,
        true,
        "Transactions read from a shared buffer.",
        "Reads never copy a buffer here.",
    ),
];

/// Which gates are on, with what was said to get there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gates {
    /// What was said, in order; a later word counts.
    said: Vec<(&'static str, bool)>,
}

impl Gates {
    /// Adds a list `A=true,B=false`; the error is etcd's text.
    pub fn say(&mut self, list: &str) -> Result<(), String> {
        for word in list.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            let Some((name, value)) = word.split_once('=') else {
                return Err(format!("missing bool value for {word}"));
            };
            let (name, value) = (name.trim(), value.trim());
            let on = truth(value).ok_or_else(|| {
                format!(
                    "invalid value of {name}={value}, err: strconv.ParseBool: parsing \"{value}\": \
                     invalid syntax"
                )
            })?;
            let Some(known) = GATES.iter().find(|gate| gate.name == name) else {
                return Err(format!("unrecognized feature gate: {name}"));
            };
            self.said.push((known.name, on));
        }
        Ok(())
    }

    /// Adds what another list said.
    pub fn extend(&mut self, other: &Gates) {
        self.said.extend_from_slice(&other.said);
    }

    /// What was said of this gate by its own name, if anything.
    pub fn said(&self, name: &str) -> Option<bool> {
        self.said.iter().rev().find(|(said, _)| *said == name).map(|(_, on)| *on)
    }

    /// Whether the gate is on: by its own name, else by its stage's, else by default.
    pub fn is_on(&self, name: &str) -> bool {
        let gate = GATES.iter().find(|gate| gate.name == name).expect("callers name known gates");
        let all = match gate.stage {
            Stage::Alpha => "AllAlpha",
            Stage::Beta => "AllBeta",
        };
        let by_stage = || self.said(all).filter(|_| name != "AllAlpha" && name != "AllBeta");
        self.said(name).or_else(by_stage).unwrap_or(gate.default)
    }

    /// Refuses combinations that make no sense.
    pub fn check(&self) -> Result<(), String> {
        if self.is_on("LeaseCheckpointPersist") && !self.is_on("LeaseCheckpoint") {
            return Err("enabling feature gate LeaseCheckpointPersist requires enabling feature \
                        gate LeaseCheckpoint"
                .into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(list: &str) -> Gates {
        let mut gates = Gates::default();
        gates.say(list).expect("a good list");
        gates
    }

    #[test]
    fn a_gate_follows_its_own_name_then_its_stage_then_its_default() {
        assert!(said("").is_on("FastLeaseKeepAlive"));
        assert!(!said("").is_on("LeaseCheckpoint"));
        assert!(said("AllAlpha=true").is_on("LeaseCheckpoint"));
        assert!(!said("AllAlpha=true,LeaseCheckpoint=false").is_on("LeaseCheckpoint"));
        assert!(!said("AllBeta=false").is_on("FastLeaseKeepAlive"));
        assert!(!said("AllBeta=true").is_on("LeaseCheckpoint"));
        assert!(!said("LeaseCheckpoint=TRUE,LeaseCheckpoint=false").is_on("LeaseCheckpoint"));
    }

    #[test]
    fn a_bad_list_is_refused_in_etcds_words() {
        for (list, error) in [
            ("X", "missing bool value for X"),
            ("Nope=true", "unrecognized feature gate: Nope"),
            (
                "AllAlpha=z",
                "invalid value of AllAlpha=z, err: strconv.ParseBool: parsing \"z\": invalid syntax",
            ),
        ] {
            assert_eq!(Gates::default().say(list), Err(error.to_owned()));
        }
    }

    #[test]
    fn storing_checkpoints_needs_checkpoints() {
        assert!(said("LeaseCheckpointPersist=true").check().is_err());
        assert_eq!(said("LeaseCheckpointPersist=true,LeaseCheckpoint=true").check(), Ok(()));
    }
}

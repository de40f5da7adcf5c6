//! The time as log lines have it: `2026-11-21T11:20:54.358231Z`, or with the local zone's offset.

use std::time::SystemTime;

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};

/// Gives the time; tests give their own.
pub type Now = fn() -> SystemTime;

/// The time in the local zone, to the microsecond.
pub(crate) fn stamp(now: SystemTime, zone: &TimeZone) -> String {
    // A clock set before the year -9999 or after 9999 is not worth a line lost.
    let instant = Timestamp::try_from(now).unwrap_or(Timestamp::UNIX_EPOCH);
    let offset = zone.to_offset(instant);
    let local = offset.to_datetime(instant);
    let mut out = local.strftime("%Y-%m-%dT%H:%M:%S%.6f").to_string();
    if offset == Offset::UTC {
        out.push('Z');
    } else {
        let minutes = offset.seconds() / 60;
        let sign = if minutes < 0 { '-' } else { '+' };
        let minutes = minutes.abs();
        out.push_str(&format!("{sign}{:02}{:02}", minutes / 60, minutes % 60));
    }
    out
}

/// The time as the name of a rotated file has it: `2026-11-21T11-20-54.358`.
pub(crate) fn file_stamp(now: SystemTime, local_time: bool) -> String {
    let zone = if local_time { TimeZone::system() } else { TimeZone::UTC };
    let instant = Timestamp::try_from(now).unwrap_or(Timestamp::UNIX_EPOCH);
    zone.to_datetime(instant).strftime("%Y-%m-%dT%H-%M-%S%.3f").to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_stamp_ends_in_z_or_in_the_zones_offset() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_micros(1_795_260_054_358_231);
        assert_eq!(stamp(now, &TimeZone::UTC), "2026-11-21T11:20:54.358231Z");
        let zone = TimeZone::fixed(
            jiff::tz::offset(-9).saturating_sub(jiff::SignedDuration::from_mins(30)),
        );
        assert_eq!(stamp(now, &zone), "2026-11-21T01:50:54.358231-0930");
        assert_eq!(file_stamp(now, false), "2026-11-21T11-20-54.358");
    }
}

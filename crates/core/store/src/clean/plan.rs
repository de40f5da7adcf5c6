//! Which segments a round of cleaning takes.
//!
//! The sparsest one, with the neighbours that are sparse or small too, as long as what lives fits into one
//! segment; or, where nothing is sparse, a row of small ones. One rule for garbage: what a rewrite would
//! not write again, the headers of small frames included.
//!
//! What is sparse depends on the need: a store far below its quota, on a disk with room, is left alone until half of a
//! segment is garbage; the nearer the end of either, the less garbage is worth a rewrite, however evenly it is spread.
//!
//! Left out: segments in which a row cannot be read. They cannot be rewritten, and would be chosen again and again.

use std::ops::Range;

use super::writer::FRAME_BYTES;
use crate::frame::FRAME_HEADER_BYTES;
use crate::sealed::Contents;
use crate::{Options, Sizes, Store};
use vfs::Space;

/// At least so much of the state must have been written twice over before a new file of state is worth it.
const STATE_FACTOR: u64 = 2;
/// Changes of state that a restart may have to take one by one, in bytes.
const STATE_REPLAY_BYTES: u64 = 16 << 20;
/// For `Defragment`, and where there is hardly room left: so much garbage is worth a rewrite.
const GARBAGE_PERCENT_MIN: u64 = 5;
/// While the store takes less than this share of what it may take, need plays no part; from the second on, it
/// decides alone.
const FILLED_PERCENT: Range<u64> = 50..90;
/// Garbage above this share of the whole store is not left lying, need or not.
const GARBAGE_PERCENT_MAX: u64 = 35;
/// So many small neighbours are worth a merge.
const MERGE_MIN: usize = 4;
/// A round never reads more than so many full segments.
const SEGMENTS_MAX: u64 = 4;

/// How eagerly to clean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Zeal {
    /// What pays.
    Worthwhile,
    /// Everything: an operator asked for it.
    All,
}

/// What a round does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Which sealed segments are rewritten as one; may be empty.
    pub(crate) victims: Range<usize>,
    /// Whether all state is written down, so that its changes can be left out.
    pub(crate) dump: bool,
}

/// What counts of a segment.
#[derive(Clone, Copy, Debug)]
struct Measure {
    content: u64,
    garbage: u64,
    is_damaged: bool,
}

impl Measure {
    fn live(&self) -> u64 {
        self.content - self.garbage
    }
}

/// The rules of one choice.
struct Rules<'a> {
    options: &'a Options,
    zeal: Zeal,
    /// Tombstones after this revision stay, dead or not.
    tombstones_stay_after: i64,
    /// Whether changes of state count as garbage.
    state_counts: bool,
    /// Garbage above this share of a segment makes it sparse.
    garbage_percent: u64,
    /// What a full segment has, in bytes.
    segment_bytes: u64,
    /// What a round may write, in bytes.
    live_bytes_max: u64,
}

impl Rules<'_> {
    fn of(store: &Store, zeal: Zeal) -> Rules<'_> {
        let space = store.shared.dir.space();
        let garbage_percent = match zeal {
            Zeal::Worthwhile => garbage_percent(&store.options, store.sizes(), space),
            Zeal::All => GARBAGE_PERCENT_MIN,
        };
        let room = space.map_or(u64::MAX, |space| {
            space
                .available_bytes
                .saturating_sub(store.options.clean_spare_bytes + store.state.bytes())
        });
        let changes: u64 = store.sealed.iter().map(|sealed| sealed.state_bytes).sum();
        let changes = changes + store.active.contents().state;
        let worth = (STATE_FACTOR * store.state.bytes()).max(store.options.clean_garbage_bytes_min);
        Rules {
            options: &store.options,
            zeal,
            tombstones_stay_after: store.shared.tombstones_stay_after(None),
            state_counts: zeal == Zeal::All || changes >= worth,
            garbage_percent,
            segment_bytes: store.segment_bytes(),
            live_bytes_max: room.min(store.segment_bytes()),
        }
    }

    fn sparse(&self, measure: &Measure) -> bool {
        let limit = measure.content.saturating_mul(self.garbage_percent) / 100;
        let sparse = measure.garbage > limit || (measure.content > 0 && measure.live() == 0);
        sparse && measure.live() <= self.live_bytes_max && !measure.is_damaged
    }

    fn garbage_min(&self) -> u64 {
        match self.zeal {
            Zeal::Worthwhile => self.options.clean_garbage_bytes_min,
            Zeal::All => 1,
        }
    }

    fn measure(&self, contents: Contents) -> Measure {
        let stay = self.tombstones_stay_after < contents.last;
        let kept = if stay { contents.dead_tombstones } else { 0 };
        let rows = contents.rows - contents.dead + kept;
        let headers = rows.div_ceil(FRAME_BYTES as u64) * FRAME_HEADER_BYTES as u64;
        let state = if self.state_counts { 0 } else { contents.state };
        let garbage = contents.bytes.saturating_sub(rows + headers + state);
        Measure { content: contents.bytes, garbage, is_damaged: contents.is_damaged }
    }

    fn measures(&self, store: &Store) -> Vec<Measure> {
        store.sealed.iter().map(|sealed| self.measure(sealed.contents())).collect()
    }

    fn active(&self, store: &Store) -> Measure {
        self.measure(store.active.contents())
    }

    /// Grows a range by neighbours that are worth taking along.
    fn extend(&self, measures: &[Measure], mut range: Range<usize>) -> Range<usize> {
        loop {
            let after = range.end < measures.len() && self.joins(measures, &range, range.end);
            if after {
                range.end += 1;
                continue;
            }
            let before = range.start > 0 && self.joins(measures, &range, range.start - 1);
            if !before {
                return range;
            }
            range.start -= 1;
        }
    }

    fn joins(&self, measures: &[Measure], range: &Range<usize>, next: usize) -> bool {
        let segment = self.segment_bytes;
        let next = &measures[next];
        let together = measures[range.clone()].iter().chain([next]);
        let live: u64 = together.clone().map(Measure::live).sum();
        let content: u64 = together.map(|measure| measure.content).sum();
        let wanted = self.sparse(next) || next.content <= segment / 8;
        let fits = live <= self.live_bytes_max && content <= SEGMENTS_MAX * segment;
        wanted && fits && !next.is_damaged
    }

    /// A row of neighbours that make one good segment together.
    fn small_ones(&self, measures: &[Measure]) -> Option<Range<usize>> {
        let segment = self.segment_bytes;
        let count_min = match self.zeal {
            Zeal::Worthwhile => MERGE_MIN,
            Zeal::All => 2,
        };
        let small = |measure: &Measure| {
            measure.content <= segment / count_min as u64 && !measure.is_damaged
        };
        for start in 0..measures.len() {
            let mut live = 0;
            let row = measures[start..].iter().take_while(|measure| {
                live += measure.live();
                small(measure) && live <= self.live_bytes_max
            });
            let count = row.count();
            if count >= count_min {
                return Some(start..start + count);
            }
        }
        None
    }
}

/// Whether the active segment is so sparse that it should be sealed to be cleaned.
pub(crate) fn seal_first(store: &Store, zeal: Zeal) -> bool {
    let rules = Rules::of(store, zeal);
    let active = rules.active(store);
    rules.sparse(&active) && active.garbage >= rules.garbage_min()
}

/// What to do next; `None` if nothing is worth while.
pub(crate) fn choose(store: &Store, zeal: Zeal) -> Option<Plan> {
    let rules = Rules::of(store, zeal);
    let measures = rules.measures(store);
    let sparse = (0..measures.len()).filter(|place| rules.sparse(&measures[*place]));
    let share = |place: &usize| {
        let measure = &measures[*place];
        u128::from(measure.garbage) * 1_000_000 / u128::from(measure.content.max(1))
    };
    let victims = sparse.max_by_key(share).map(|place| rules.extend(&measures, place..place + 1));
    let victims = victims.filter(|victims| {
        let garbage: u64 = measures[victims.clone()].iter().map(|measure| measure.garbage).sum();
        garbage >= rules.garbage_min()
    });
    let victims = victims.or_else(|| rules.small_ones(&measures)).unwrap_or(0..0);
    let taken = &store.sealed[victims.clone()];
    let dump = taken.iter().any(|sealed| sealed.state_bytes > 0 && !store.is_dumped(sealed));
    let dump = dump || replay_is_long(store) || store.scrubbing.state_is_lost;
    let marks = store.shared.is_image_waiting() || store.scrubbing.marks_are_lost;
    let wanted = dump || !victims.is_empty() || marks;
    wanted.then_some(Plan { victims, dump })
}

/// From which share of garbage on a segment is worth a rewrite, in percent.
fn garbage_percent(options: &Options, sizes: Sizes, space: Option<Space>) -> u64 {
    let usual = 100 - options.clean_live_percent.min(100);
    let spread =
        match sizes.garbage_bytes() > sizes.file_bytes.saturating_mul(GARBAGE_PERCENT_MAX) / 100 {
            true => usual.min(GARBAGE_PERCENT_MAX),
            false => usual,
        };
    let file = u128::from(sizes.file_bytes);
    let share = |most: u128| (100 * file / most.max(1)).min(100) as u64;
    let of_quota = options.quota_bytes.map(|quota| share(quota.into()));
    let of_disk = space.map(|space| share(file + u128::from(space.available_bytes)));
    let filled = of_quota.max(of_disk).unwrap_or(0);
    let beyond = filled.clamp(FILLED_PERCENT.start, FILLED_PERCENT.end) - FILLED_PERCENT.start;
    let range = usual.saturating_sub(GARBAGE_PERCENT_MIN);
    let needed = usual - range * beyond / (FILLED_PERCENT.end - FILLED_PERCENT.start);
    spread.min(needed)
}

/// Whether a restart would have to take many changes of state one by one.
fn replay_is_long(store: &Store) -> bool {
    let waiting = store.sealed.iter().filter(|sealed| !store.is_dumped(sealed));
    let waiting: u64 = waiting.map(|sealed| sealed.state_bytes).sum();
    waiting > STATE_REPLAY_BYTES.max(2 * STATE_FACTOR * store.state.bytes())
}

impl Sizes {
    /// What could be given back.
    pub fn garbage_bytes(&self) -> u64 {
        self.file_bytes.saturating_sub(self.live_bytes)
    }
}

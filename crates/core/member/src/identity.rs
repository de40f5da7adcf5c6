//! Ids of members, clusters and requests, computed as etcd computes them
//! (`docs/etcd/peer-protocol.md` 8.1 and 8.2).

use sha1::{Digest, Sha1};
use types::MemberId;

/// A member's id at bootstrap: from its peer URLs and the cluster's token.
pub fn bootstrap_member_id(peer_urls: &[String], token: &str) -> MemberId {
    hash_member(peer_urls, token.as_bytes())
}

/// A member's id when it is added at run time: from its peer URLs and the second it was asked for.
pub fn added_member_id(peer_urls: &[String], unix_seconds: u64) -> MemberId {
    hash_member(peer_urls, unix_seconds.to_string().as_bytes())
}

fn hash_member(peer_urls: &[String], suffix: &[u8]) -> MemberId {
    let mut urls = peer_urls.to_vec();
    urls.sort_unstable();
    let mut hash = Sha1::new();
    for url in &urls {
        hash.update(url.as_bytes());
    }
    hash.update(suffix);
    first_eight(&hash.finalize())
}

/// The cluster's id: from the ids of its first members.
pub fn cluster_id(members: &[MemberId]) -> u64 {
    let mut ids = members.to_vec();
    ids.sort_unstable();
    let mut hash = Sha1::new();
    for id in ids {
        hash.update(id.to_be_bytes());
    }
    first_eight(&hash.finalize())
}

fn first_eight(digest: &[u8]) -> u64 {
    u64::from_be_bytes(digest[..8].try_into().expect("a SHA-1 has twenty bytes"))
}

/// Which run of a member it is, for the ids it gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// How many runs came before it.
    pub number: u64,
    /// The calendar when it began, in milliseconds since 1970.
    pub unix_ms: u64,
}

/// Hands out ids that no other member and none of the last 255 runs hands out, however fast and whatever the
/// calendar says: nobody is ever told what came of a request of before.
///
/// Sixteen bits of the member's id, as in etcd, eight of the run's number, then a counter of forty that begins at the
/// calendar. Several generators share a member by stepping over each other's numbers, so the lowest bits tell which
/// of them made an id.
#[derive(Clone, Debug)]
pub struct RequestIds {
    prefix: u64,
    counter: u64,
    step: u64,
}

/// Bits of an id behind the member's.
const SUFFIX_BITS: u32 = 48;
/// Bits of them that count.
const COUNTER_BITS: u32 = 40;
const COUNTER_MAX: u64 = (1 << COUNTER_BITS) - 1;

impl RequestIds {
    /// The `lane`-th of `lanes` generators of a member in this run. `lanes` is a power of two, up to 256.
    pub fn new(member: MemberId, run: Run, lane: usize, lanes: usize) -> RequestIds {
        assert!(lanes.is_power_of_two());
        assert!(lanes <= 256);
        assert!(lane < lanes);
        let step = lanes as u64;
        let counter = (run.unix_ms & COUNTER_MAX & !(step - 1)) + lane as u64;
        let prefix = member << SUFFIX_BITS | (run.number & 0xff) << COUNTER_BITS;
        RequestIds { prefix, counter, step }
    }

    /// The next id; never 0 in a lease's 63 bits either.
    pub fn next_id(&mut self) -> u64 {
        self.counter = (self.counter + self.step) & COUNTER_MAX;
        self.prefix | self.counter
    }

    /// Which of the member's generators made `id`; `None` if another member's did.
    pub fn lane(member: MemberId, id: u64, lanes: usize) -> Option<usize> {
        let own = id >> SUFFIX_BITS == (member << SUFFIX_BITS) >> SUFFIX_BITS;
        own.then_some((id & (lanes as u64 - 1)) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: Run = Run { number: 0, unix_ms: 1_700_000_000_000 };

    #[test]
    fn ids_are_those_etcd_computes() {
        // The vectors of docs/etcd/api.md 7 and docs/etcd/peer-protocol.md 8.1.
        let id = |url: &str| bootstrap_member_id(&[url.to_owned()], "etcd-cluster");
        assert_eq!(id("http://localhost:2380"), 0x8e9e_05c5_2164_694d);
        assert_eq!(cluster_id(&[0x8e9e_05c5_2164_694d]), 0xcdf8_1819_4e3a_8c32);
        assert_eq!(id("http://127.0.0.1:34101"), 0x7df8_f94d_4588_b50b);
        assert_eq!(cluster_id(&[0x7df8_f94d_4588_b50b]), 0xf039_ba40_4565_c0d6);
    }

    #[test]
    fn generators_of_one_member_never_meet_and_are_told_apart() {
        let member = 0x8e9e_05c5_2164_694d;
        let mut seen = std::collections::BTreeSet::new();
        for lane in 0..4 {
            let mut ids = RequestIds::new(member, RUN, lane, 4);
            for _ in 0..1000 {
                let id = ids.next_id();
                assert_eq!(RequestIds::lane(member, id, 4), Some(lane));
                assert_eq!(RequestIds::lane(member + 1, id, 4), None);
                assert!(seen.insert(id));
            }
        }
    }

    #[test]
    fn a_run_gives_none_of_the_ids_of_the_one_before_however_many_that_gave() {
        let mut seen = std::collections::BTreeSet::new();
        for number in 0..3 {
            // A calendar that stands still, and generators that run ahead of it.
            let mut ids = RequestIds::new(7, Run { number, ..RUN }, 0, 256);
            assert!((0..5000).all(|_| seen.insert(ids.next_id())));
        }
    }
}

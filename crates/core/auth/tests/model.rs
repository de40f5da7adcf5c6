//! Decisions beside a checker that knows nothing of ranges: it tries every key.
//!
//! Guarantee (permission): a request is allowed when each key it speaks of is allowed by some permission of
//! some role of its user, and only then.

use bytes::Bytes;
use holdfast_auth::{Caller, Leases, NewUser, Users};
use proto::authpb::{Permission, permission::Type};
use proto::etcdserverpb as pb;
use types::{KeyRange, Refusal};

const LETTERS: [u8; 3] = [0, b'a', b'b'];

/// A small generator, so that a failure is a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }

    fn key(&mut self, length_min: usize) -> Bytes {
        let length = length_min + self.roll(3 - length_min);
        (0..length).map(|_| LETTERS[self.roll(3)]).collect::<Vec<u8>>().into()
    }
}

/// Every key that could tell two sets apart whose bounds have two letters: a gap begins with a bound, or right
/// behind a key.
fn keys() -> Vec<Vec<u8>> {
    let mut all = vec![vec![0xff; 4]];
    let mut longest = vec![Vec::new()];
    for _ in 0..3 {
        let longer = longest.iter().flat_map(|key: &Vec<u8>| {
            LETTERS.iter().map(move |letter| [key.as_slice(), &[*letter]].concat())
        });
        longest = longer.collect();
        all.extend(longest.iter().cloned());
    }
    all
}

struct World {
    users: Users,
    granted: Vec<Permission>,
}

fn world(dice: &mut Dice) -> World {
    let mut users = Users::default();
    for user in ["root", "u"] {
        users.add_user(user, NewUser::default()).expect("it is new");
    }
    users.grant_role("root", "root").expect("both exist");
    let mut granted: Vec<Permission> = Vec::new();
    for role in ["r", "s"] {
        users.add_role(role).expect("it is new");
        users.grant_role("u", role).expect("both exist");
        for _ in 0..dice.roll(4) {
            let permission = Permission {
                perm_type: dice.roll(3) as i32,
                key: dice.key(1),
                range_end: dice.key(0),
            };
            if users.grant_permission(role, Some(&permission)).is_ok() {
                granted = granted_now(&users);
            }
        }
    }
    if dice.roll(3) == 0 {
        users.revoke_role("u", "s").expect("it was granted");
        granted = users.role("r").expect("it exists").permissions().to_vec();
    }
    users.enable().expect("root has its role");
    World { users, granted }
}

fn granted_now(users: &Users) -> Vec<Permission> {
    let roles = ["r", "s"].into_iter().filter_map(|role| users.role(role));
    roles.flat_map(|role| role.permissions().to_vec()).collect()
}

/// One key, one permission after the other.
fn may(granted: &[Permission], access: Type, key: &[u8]) -> bool {
    granted.iter().any(|permission| {
        let range = KeyRange::from_wire(&permission.key, &permission.range_end);
        let kind = permission.perm_type;
        (kind == access as i32 || kind == Type::Readwrite as i32)
            && range.expect("it was checked when it was granted").contains(key)
    })
}

fn naive(world: &World, access: Type, key: &Bytes, range_end: &Bytes) -> bool {
    let range = KeyRange::from_wire(key, range_end).expect("the dice give a key");
    let mut asked: Vec<Vec<u8>> = keys().into_iter().filter(|key| range.contains(key)).collect();
    if matches!(&range, KeyRange::Between { start, end } if end <= start) {
        asked = vec![key.to_vec()];
    }
    asked.iter().all(|key| may(&world.granted, access, key))
}

#[test]
fn a_range_is_allowed_when_each_of_its_keys_is() {
    let (mut allowed, mut refused) = (0, 0);
    for seed in 0..3_000 {
        let mut dice = Dice(seed);
        let world = world(&mut dice);
        for _ in 0..10 {
            let (key, range_end) = (dice.key(1), dice.key(0));
            let range = pb::RangeRequest {
                key: key.clone(),
                range_end: range_end.clone(),
                ..Default::default()
            };
            let delete = pb::DeleteRangeRequest { key, range_end, prev_kv: false };
            let caller = Caller { name: "u", revision: world.users.revision() };
            let reads = world.users.decide(caller, &range, Leases::DecidedAtApply);
            let writes = world.users.decide(caller, &delete, Leases::DecidedAtApply);
            for (decided, access) in [(reads, Type::Read), (writes, Type::Write)] {
                let expected = naive(&world, access, &range.key, &range.range_end);
                let expected = if expected { Ok(()) } else { Err(Refusal::PermissionDenied) };
                assert_eq!(decided, expected, "seed {seed}: {access:?} {range:?}");
                if decided.is_ok() { allowed += 1 } else { refused += 1 }
            }
        }
    }
    assert!(1_000 < allowed, "{allowed} of {refused} prove little");
    assert!(1_000 < refused, "{refused} of {allowed} prove little");
}

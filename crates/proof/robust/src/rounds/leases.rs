//! A client with leases: it hangs a key on each, keeps some alive for a while, revokes some, and leaves the rest to end.

use std::thread::sleep;
use std::time::Duration;

use history::lease::LeaseEvent;
use history::{Action, Operation, Request};
use prost::Message;
use proto::etcdserverpb::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
    LeaseRevokeRequest,
};

use super::session::{Session, Shared};
use crate::grpc::{Call, Item};
use crate::random::Random;

/// Keys that hang on leases begin so; the lease's number follows.
pub const LEASED: &str = "k/lease/";
/// How long a lease's own requests may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a client with leases did, and when.
#[derive(Debug, Default)]
pub struct Leased {
    /// Puts of keys on leases.
    pub operations: Vec<Operation>,
    /// What happened to leases, each with the millisecond it counts from.
    pub events: Vec<(u64, LeaseEvent)>,
}

/// Grants, keeps alive and revokes until the round ends. Its leases are `first`, `first + 1`, ...
pub fn grant_and_keep(shared: &Shared, client: usize, first: i64, mut random: Random) -> Leased {
    let mut done = Leased::default();
    let mut session = Session::new(shared, &mut random);
    let mut id = first;
    while shared.goes_on() {
        id += 1;
        if grant(shared, &mut session, id, random.between(1, 4), &mut done).is_none() {
            session.move_on();
            sleep(Duration::from_millis(20));
            continue;
        }
        let put = Action::Put {
            key: format!("{LEASED}{id}").into(),
            value: format!("lease {id}").into(),
            lease: id,
            previous: false,
        };
        done.operations.extend(session.ask(client, Request::One(put)));
        for _ in 0..random.below(5) {
            sleep(Duration::from_millis(random.below(700)));
            if shared.goes_on() && keep_alive(shared, &mut session, id, &mut done).is_none() {
                session.move_on();
            }
        }
        if random.one_in(3) {
            revoke(shared, &mut session, id, &mut done);
        }
        sleep(Duration::from_millis(random.below(100)));
    }
    done
}

fn millis(shared: &Shared) -> u64 {
    shared.now() / 1000
}

fn grant(
    shared: &Shared,
    session: &mut Session<'_>,
    lease: i64,
    ttl: i64,
    done: &mut Leased,
) -> Option<()> {
    let request = LeaseGrantRequest { ttl, id: lease };
    let call = Call::unary("/etcdserverpb.Lease/LeaseGrant", &request.encode_to_vec());
    let asked = millis(shared);
    let answer = session.connection()?.call_for(&call, PATIENCE, usize::MAX);
    let granted: LeaseGrantResponse = answer.is_ok().then(|| answer.ok())?;
    let ttl = granted.ttl as u64 * 1000;
    done.events.push((asked, LeaseEvent::Granted { lease, asked, ttl }));
    Some(())
}

fn keep_alive(
    shared: &Shared,
    session: &mut Session<'_>,
    lease: i64,
    done: &mut Leased,
) -> Option<()> {
    let message = LeaseKeepAliveRequest { id: lease }.encode_to_vec();
    let call = Call::unary("/etcdserverpb.Lease/LeaseKeepAlive", &message);
    let asked = millis(shared);
    let mut stream = session.connection()?.begin(&call)?;
    let Item::Message(message) = stream.next(PATIENCE) else { return None };
    let kept = LeaseKeepAliveResponse::decode(message).ok()?;
    if 0 < kept.ttl {
        let ttl = kept.ttl as u64 * 1000;
        done.events.push((asked, LeaseEvent::KeptAlive { lease, asked, ttl }));
    }
    Some(())
}

fn revoke(shared: &Shared, session: &mut Session<'_>, lease: i64, done: &mut Leased) {
    done.events.push((millis(shared), LeaseEvent::RevokeAsked { lease }));
    let request = LeaseRevokeRequest { id: lease };
    let call = Call::unary("/etcdserverpb.Lease/LeaseRevoke", &request.encode_to_vec());
    if let Some(connection) = session.connection() {
        // Whether it was revoked shows in the events.
        connection.call_for(&call, PATIENCE, usize::MAX);
    }
}

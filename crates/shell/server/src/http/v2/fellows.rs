//! Whether the other members can apply requests of the API v2: those of Go cannot, or not as ours do, and would end at
//! the first one they read. So nothing is proposed before each has said that it can.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use apply::Member;
use types::MemberId;

use crate::desk::Desk;

/// How long a member may take to say so.
const ANSWER_DURATION_MAX: Duration = Duration::from_secs(1);

/// Who has said so, and since when that member was reached without a break. After a break another program may be there.
#[derive(Default)]
pub(super) struct Fellows(Mutex<BTreeMap<MemberId, Option<Instant>>>);

/// What a member says.
enum Says {
    Yes,
    No,
    Nothing,
}

impl Fellows {
    /// # Errors
    /// Who cannot follow, in words for the client.
    pub(super) async fn can_follow(&self, desk: &Desk) -> Result<(), String> {
        let cluster = desk.cluster();
        for member in cluster.members.members().filter(|member| member.id != desk.member()) {
            let reached = desk.network().active_since(member.id);
            if self.has_said_so(member.id, reached) {
                continue;
            }
            let name = if member.name.is_empty() { "without a name" } else { &*member.name };
            let who = format!("member {:x} ({name})", member.id);
            match ask(desk, member).await {
                Says::Yes => self.note(member.id, reached),
                Says::No => {
                    return Err(format!(
                        "etcdserver: {who} cannot apply requests of the API v2: it is no member of this kind"
                    ));
                }
                // Where the tree has been written to, all could when it was.
                Says::Nothing if is_in_use(desk).await => {}
                Says::Nothing => {
                    return Err(format!(
                        "etcdserver: {who} does not say whether it can apply requests of the API v2"
                    ));
                }
            }
        }
        Ok(())
    }

    fn has_said_so(&self, member: MemberId, reached: Option<Instant>) -> bool {
        let said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Who is away says nothing else meanwhile.
        said.get(&member).is_some_and(|since| reached.is_none() || *since == reached)
    }

    fn note(&self, member: MemberId, reached: Option<Instant>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(member, reached);
    }
}

async fn ask(desk: &Desk, member: &Member) -> Says {
    for url in &member.peer_urls {
        let asked = desk.network().asker.applies_v2(url);
        match tokio::time::timeout(ANSWER_DURATION_MAX, asked).await {
            Ok(Ok(true)) => return Says::Yes,
            Ok(Ok(false)) => return Says::No,
            Ok(Err(_)) | Err(_) => {}
        }
    }
    Says::Nothing
}

async fn is_in_use(desk: &Desk) -> bool {
    let read = desk.node().v2_get("/".to_owned(), false).await;
    read.is_ok_and(|read| read.is_ok_and(|event| 0 < event.index))
}

//! What a request can be refused with: one table, etcd's own codes and words.
//!
//! Clients match on the text (`docs/etcd/errors.md`), so it is part of the interface. The shells turn
//! a [`Refusal`] into a gRPC status in one place and nobody else spells an error.

use std::borrow::Cow;
use std::fmt;

/// gRPC status codes, with their numbers on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names are gRPC's own")]
pub enum Code {
    Ok = 0,
    Canceled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

impl Code {
    /// All codes, in the order of their numbers.
    pub const ALL: [Code; 17] = [
        Code::Ok,
        Code::Canceled,
        Code::Unknown,
        Code::InvalidArgument,
        Code::DeadlineExceeded,
        Code::NotFound,
        Code::AlreadyExists,
        Code::PermissionDenied,
        Code::ResourceExhausted,
        Code::FailedPrecondition,
        Code::Aborted,
        Code::OutOfRange,
        Code::Unimplemented,
        Code::Internal,
        Code::Unavailable,
        Code::DataLoss,
        Code::Unauthenticated,
    ];

    /// The name as grpc-go and the metrics spell it.
    pub fn name(self) -> &'static str {
        match self {
            Code::Ok => "OK",
            Code::Canceled => "Canceled",
            Code::Unknown => "Unknown",
            Code::InvalidArgument => "InvalidArgument",
            Code::DeadlineExceeded => "DeadlineExceeded",
            Code::NotFound => "NotFound",
            Code::AlreadyExists => "AlreadyExists",
            Code::PermissionDenied => "PermissionDenied",
            Code::ResourceExhausted => "ResourceExhausted",
            Code::FailedPrecondition => "FailedPrecondition",
            Code::Aborted => "Aborted",
            Code::OutOfRange => "OutOfRange",
            Code::Unimplemented => "Unimplemented",
            Code::Internal => "Internal",
            Code::Unavailable => "Unavailable",
            Code::DataLoss => "DataLoss",
            Code::Unauthenticated => "Unauthenticated",
        }
    }
}

macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident = $code:ident, $text:literal;)*) => {
        /// A request's refusal: nothing was changed, and the client is told why.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Refusal {
            $($(#[$doc])* $name,)*
            /// Anything etcd sends without a name of its own in the table.
            Other(Code, Cow<'static, str>),
        }

        impl Refusal {
            /// Every named refusal, for tables and tests.
            pub const NAMED: &[Refusal] = &[$(Refusal::$name),*];

            /// The gRPC code that goes on the wire.
            pub fn code(&self) -> Code {
                match self {
                    $(Refusal::$name => Code::$code,)*
                    Refusal::Other(code, _) => *code,
                }
            }

            /// The text that goes on the wire. Clients compare it.
            pub fn message(&self) -> &str {
                match self {
                    $(Refusal::$name => $text,)*
                    Refusal::Other(_, text) => text,
                }
            }
        }
    };
}

refusals! {
    /// Authenticate: unknown user or wrong password; (client dial with bad user/password).
    AuthFailed = InvalidArgument, "etcdserver: authentication failed, invalid user ID or password";
    /// Authenticate while auth is off.
    AuthNotEnabled = FailedPrecondition, "etcdserver: authentication is not enabled";
    /// Token/auth info older than current auth revision, at read check or apply.
    AuthOldRevision = InvalidArgument, "etcdserver: revision of auth store is old";
    /// MoveLeader target unknown or a learner.
    BadLeaderTransferee = FailedPrecondition, "etcdserver: bad leader transferee";
    /// Server-side: request context canceled before the answer; (context.Canceled itself is passed on as is, so code Canceled with text `context canceled` is more usual).
    Canceled = Canceled, "etcdserver: request canceled";
    /// Peer requests with another cluster ID (HTTP 412 on peer listener); reported by clients.
    ClusterIDMismatch = FailedPrecondition, "etcdserver: cluster ID mismatch";
    /// Downgrade VALIDATE/ENABLE before a cluster version is known.
    ClusterVersionUnavailable = FailedPrecondition, "etcdserver: cluster version not found during downgrade";
    /// Range/Txn range at a compacted revision; Compact ≤ compacted; HashKV below compacted; cancel_reason of a watch with negative start revision; client text for compacted watches.
    Compacted = OutOfRange, "etcdserver: mvcc: required revision has been compacted";
    /// CORRUPT alarm active: Put, DeleteRange, Txn, raft Range, Compact, LeaseGrant, LeaseRevoke.
    Corrupt = DataLoss, "etcdserver: corrupt cluster";
    /// Mapping for context.DeadlineExceeded on the client side; servers return the bare context error.
    DeadlineExceeded = DeadlineExceeded, "etcdserver: context deadline exceeded";
    /// Downgrade VALIDATE/ENABLE while one is active.
    DowngradeInProcess = FailedPrecondition, "etcdserver: cluster has a downgrade job in progress";
    /// Txn puts one key twice, or puts inside a delete range, in one branch.
    DuplicateKey = InvalidArgument, "etcdserver: duplicate key given in txn request";
    /// Range/Put/DeleteRange/Compare/nested op with empty key.
    EmptyKey = InvalidArgument, "etcdserver: key is not provided";
    /// Range revision, Compact or HashKV revision  current.
    FutureRev = OutOfRange, "etcdserver: mvcc: required revision is a future revision";
    /// Delete root user, revoke root role from root, delete root role while auth on; RoleGrantPermission with an invalid range (recent patches).
    InvalidAuthMgmt = InvalidArgument, "etcdserver: invalid auth management";
    /// Token unknown, expired or malformed.
    InvalidAuthToken = Unauthenticated, "etcdserver: invalid auth token";
    /// `client-api-version` metadata is not valid UTF-8 (3.6+).
    InvalidClientAPIVersion = InvalidArgument, "etcdserver: invalid client api version";
    /// Downgrade target is not exactly one minor below the cluster version.
    InvalidDowngradeTargetVersion = InvalidArgument, "etcdserver: invalid downgrade target version";
    /// Range sort_order/sort_target outside the enum (3.6+).
    InvalidSortOption = InvalidArgument, "etcdserver: invalid sort option";
    /// Put with ignore_value/ignore_lease on a missing key; txn op with no request set.
    KeyNotFound = InvalidArgument, "etcdserver: key not found";
    /// Linearizable read aborted because the leader changed while it waited.
    LeaderChanged = Unavailable, "etcdserver: leader changed";
    /// MemberPromote: learner progress  90 % of leader.
    LearnerNotReady = FailedPrecondition, "etcdserver: can only promote a learner member which is in sync with leader";
    /// LeaseGrant with an ID in use.
    LeaseExist = FailedPrecondition, "etcdserver: lease already exists";
    /// Put with unknown lease; LeaseRevoke of unknown lease (KeepAlive/TimeToLive do NOT return it).
    LeaseNotFound = NotFound, "etcdserver: requested lease not found";
    /// Put ignore_lease with lease ≠ 0.
    LeaseProvided = InvalidArgument, "etcdserver: lease is provided";
    /// LeaseGrant TTL  9000000000.
    LeaseTTLTooLarge = OutOfRange, "etcdserver: too large lease TTL";
    /// MemberAdd/Update: peer URLs empty or not parseable.
    MemberBadURLs = InvalidArgument, "etcdserver: given member URLs are invalid";
    /// MemberAdd: ID already in cluster.
    MemberExist = FailedPrecondition, "etcdserver: member ID already exist";
    /// MemberAdd/Remove/Promote refused by strict reconfig check. The wire shows Unknown (`docs/etcd/errors.md` 3).
    MemberNotEnoughStarted = Unknown, "etcdserver: re-configuration failed due to not enough started members";
    /// MemberRemove/Update/Promote: unknown or already removed ID.
    MemberNotFound = NotFound, "etcdserver: member not found";
    /// MemberPromote of a voter.
    MemberNotLearner = FailedPrecondition, "etcdserver: can only promote a learner member";
    /// 3.5 Downgrade CANCEL with no job (3.6+ logs it and answers OK).
    NoInflightDowngrade = FailedPrecondition, "etcdserver: no inflight downgrade job";
    /// Request with `hasleader` metadata and no leader; streams after 3 election timeouts without leader; requests needing a leader when none.
    NoLeader = Unavailable, "etcdserver: no leader";
    /// NOSPACE alarm active: Put, Txn with put, LeaseGrant.
    NoSpace = ResourceExhausted, "etcdserver: mvcc: database space exceeded";
    /// RPC not supported at the current cluster version capability (cluster version  3.0 capabilities: auth, v3rpc).
    NotCapable = FailedPrecondition, "etcdserver: not capable";
    /// MoveLeader sent to a follower.
    NotLeader = FailedPrecondition, "etcdserver: not leader";
    /// RPC other than Status / serializable Range / Snapshot on a learner.
    NotSupportedForLearner = FailedPrecondition, "etcdserver: rpc not supported for learner";
    /// MemberAdd/Update: URL used by another member.
    PeerURLExist = FailedPrecondition, "etcdserver: Peer URLs already exists";
    /// Authenticated user lacks permission (key range, or root).
    PermissionDenied = PermissionDenied, "etcdserver: permission denied";
    /// RoleGrantPermission without `perm`.
    PermissionNotGiven = InvalidArgument, "etcdserver: permission not given";
    /// RoleRevokePermission: no such (key, range_end) in the role.
    PermissionNotGranted = FailedPrecondition, "etcdserver: permission is not granted to the role";
    /// Marshalled request  --max-request-bytes.
    RequestTooLarge = InvalidArgument, "etcdserver: request is too large";
    /// Commit − applied  5000. The wire shows Unknown (`docs/etcd/errors.md` 3).
    RequestTooManyRequests = Unknown, "etcdserver: too many requests";
    /// RoleAdd existing.
    RoleAlreadyExist = FailedPrecondition, "etcdserver: role name already exists";
    /// RoleAdd with empty name.
    RoleEmpty = InvalidArgument, "etcdserver: role name is empty";
    /// RoleGet/Delete/GrantPermission/RevokePermission/UserGrantRole: no such role.
    RoleNotFound = FailedPrecondition, "etcdserver: role name not found";
    /// UserRevokeRole: user does not have it.
    RoleNotGranted = FailedPrecondition, "etcdserver: role is not granted to the user";
    /// AuthEnable: root lacks role root.
    RootRoleNotExist = FailedPrecondition, "etcdserver: root user does not have root role";
    /// AuthEnable: no user root.
    RootUserNotExist = FailedPrecondition, "etcdserver: root user does not exist";
    /// Server is stopping.
    Stopped = Unavailable, "etcdserver: server stopped";
    /// ReqTimeout passed (5 s + 2 × election timeout).
    Timeout = Unavailable, "etcdserver: request timed out";
    /// As Timeout, and connection to the leader (or quorum) has been inactive since before the request.
    TimeoutDueToConnectionLost = Unavailable, "etcdserver: request timed out, possibly due to connection lost";
    /// As Timeout, and the leader was lost within ~3 election timeouts before the request.
    TimeoutDueToLeaderFail = Unavailable, "etcdserver: request timed out, possibly due to previous leader failure";
    /// Lease keepalive/TTL/leases: applied index did not catch up within 1 s.
    TimeoutWaitAppliedIndex = Unavailable, "etcdserver: request timed out, waiting for the applied index took too long";
    /// MemberAdd learner  --max-learners.
    TooManyLearners = FailedPrecondition, "etcdserver: too many learner members in cluster";
    /// Txn over --max-txn-ops.
    TooManyOps = InvalidArgument, "etcdserver: too many operations in txn request";
    /// Strict reconfig: a voting member unreachable for the last 5 s / membership change would risk quorum.
    Unhealthy = Unavailable, "etcdserver: unhealthy cluster";
    /// UserAdd existing.
    UserAlreadyExist = FailedPrecondition, "etcdserver: user name already exists";
    /// UserAdd empty name.
    UserEmpty = InvalidArgument, "etcdserver: user name is empty";
    /// User* on unknown user.
    UserNotFound = FailedPrecondition, "etcdserver: user name not found";
    /// Put ignore_value with a value.
    ValueProvided = InvalidArgument, "etcdserver: value is provided";
    /// Watch stream ended because its context was canceled.
    WatchCanceled = Canceled, "etcdserver: watch canceled";
    /// Downgrade version not parseable.
    WrongDowngradeVersionFormat = InvalidArgument, "etcdserver: wrong downgrade target version format";
}

impl Refusal {
    /// An internal text without a place in the table: code Unknown, as etcd sends it.
    pub fn unknown(text: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal::Other(Code::Unknown, text.into())
    }

    /// Requests that are validated before they are proposed, in words of our own.
    pub fn invalid(text: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal::Other(Code::InvalidArgument, text.into())
    }

    /// How Go's gRPC prints a status, as it stands in a watch's `cancel_reason`.
    pub fn status_text(&self) -> String {
        format!("rpc error: code = {} desc = {}", self.code().name(), self.message())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_refusals_share_a_text() {
        let mut texts: Vec<&str> = Refusal::NAMED.iter().map(Refusal::message).collect();
        texts.sort_unstable();
        let count = texts.len();
        texts.dedup();
        assert_eq!(texts.len(), count);
    }

    #[test]
    fn a_status_reads_as_go_prints_it() {
        assert_eq!(
            Refusal::PermissionDenied.status_text(),
            "rpc error: code = PermissionDenied desc = etcdserver: permission denied"
        );
    }
}

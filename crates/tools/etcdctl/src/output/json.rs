//! JSON as Go writes etcd's messages: fields in their order, zero ones left out, bytes in base64.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use proto::{authpb, etcdserverpb as pb, mvccpb};

/// Something that can be written.
pub trait Json {
    /// A field that holds this is left out.
    fn is_zero(&self) -> bool;
    /// Appends it.
    fn write(&self, out: &mut String);
}

/// One line.
pub fn line(value: &impl Json) -> String {
    let mut out = String::new();
    value.write(&mut out);
    out.push('\n');
    out
}

macro_rules! numbers {
    ($($type:ty),*) => {
        $(impl Json for $type {
            fn is_zero(&self) -> bool {
                *self == 0
            }

            fn write(&self, out: &mut String) {
                out.push_str(&self.to_string());
            }
        })*
    };
}

numbers!(i32, i64, u32, u64);

impl Json for bool {
    fn is_zero(&self) -> bool {
        !self
    }

    fn write(&self, out: &mut String) {
        out.push_str(if *self { "true" } else { "false" });
    }
}

impl Json for str {
    fn is_zero(&self) -> bool {
        self.is_empty()
    }

    fn write(&self, out: &mut String) {
        out.push('"');
        for char in self.chars() {
            match char {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                    out.push_str(&format!("\\u{:04x}", char as u32));
                }
                char if (char as u32) < 0x20 => {
                    out.push_str(&format!("\\u{:04x}", char as u32));
                }
                char => out.push(char),
            }
        }
        out.push('"');
    }
}

impl Json for String {
    fn is_zero(&self) -> bool {
        self.is_empty()
    }

    fn write(&self, out: &mut String) {
        self.as_str().write(out);
    }
}

impl Json for Bytes {
    fn is_zero(&self) -> bool {
        self.is_empty()
    }

    fn write(&self, out: &mut String) {
        out.push('"');
        STANDARD.encode_string(self, out);
        out.push('"');
    }
}

impl<T: Json> Json for [T] {
    fn is_zero(&self) -> bool {
        self.is_empty()
    }

    fn write(&self, out: &mut String) {
        out.push('[');
        for (index, item) in self.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            item.write(out);
        }
        out.push(']');
    }
}

impl<T: Json> Json for Vec<T> {
    fn is_zero(&self) -> bool {
        self.is_empty()
    }

    fn write(&self, out: &mut String) {
        self.as_slice().write(out);
    }
}

impl<T: Json> Json for Option<T> {
    fn is_zero(&self) -> bool {
        self.is_none()
    }

    fn write(&self, out: &mut String) {
        match self {
            Some(value) => value.write(out),
            None => out.push_str("null"),
        }
    }
}

impl<T: Json> Json for &T {
    fn is_zero(&self) -> bool {
        (*self).is_zero()
    }

    fn write(&self, out: &mut String) {
        (*self).write(out);
    }
}

/// Writes an object field by field.
pub struct Object<'a> {
    out: &'a mut String,
    empty: bool,
}

impl Object<'_> {
    /// Begins an object.
    pub fn begin(out: &mut String) -> Object<'_> {
        out.push('{');
        Object { out, empty: true }
    }

    /// A field that is always there.
    pub fn always(mut self, name: &str, value: &(impl Json + ?Sized)) -> Self {
        if !self.empty {
            self.out.push(',');
        }
        self.empty = false;
        name.write(self.out);
        self.out.push(':');
        value.write(self.out);
        self
    }

    /// A field that is left out when it is zero.
    pub fn unless_zero(self, name: &str, value: &(impl Json + ?Sized)) -> Self {
        if value.is_zero() { self } else { self.always(name, value) }
    }

    /// Ends the object.
    pub fn end(self) {
        self.out.push('}');
    }
}

macro_rules! messages {
    ($($type:ty { $($name:literal = $field:ident),* $(,)? })*) => {
        $(impl Json for $type {
            fn is_zero(&self) -> bool {
                false
            }

            fn write(&self, out: &mut String) {
                Object::begin(out)$(.unless_zero($name, &self.$field))*.end();
            }
        })*
    };
}

messages! {
    pb::ResponseHeader {
        "cluster_id" = cluster_id,
        "member_id" = member_id,
        "revision" = revision,
        "raft_term" = raft_term,
    }
    mvccpb::KeyValue {
        "key" = key,
        "create_revision" = create_revision,
        "mod_revision" = mod_revision,
        "version" = version,
        "value" = value,
        "lease" = lease,
    }
    mvccpb::Event { "type" = r#type, "kv" = kv, "prev_kv" = prev_kv }
    pb::RangeResponse { "header" = header, "kvs" = kvs, "more" = more, "count" = count }
    pb::PutResponse { "header" = header, "prev_kv" = prev_kv }
    pb::DeleteRangeResponse { "header" = header, "deleted" = deleted, "prev_kvs" = prev_kvs }
    pb::TxnResponse { "header" = header, "succeeded" = succeeded, "responses" = responses }
    pb::LeaseRevokeResponse { "header" = header }
    pb::LeaseStatus { "id" = id }
    pb::Member {
        "ID" = id,
        "name" = name,
        "peerURLs" = peer_ur_ls,
        "clientURLs" = client_ur_ls,
        "isLearner" = is_learner,
    }
    pb::MemberAddResponse { "header" = header, "member" = member, "members" = members }
    pb::MemberRemoveResponse { "header" = header, "members" = members }
    pb::MemberUpdateResponse { "header" = header, "members" = members }
    pb::MemberPromoteResponse { "header" = header, "members" = members }
    pb::MemberListResponse { "header" = header, "members" = members }
    pb::AlarmMember { "memberID" = member_id, "alarm" = alarm }
    pb::AlarmResponse { "header" = header, "alarms" = alarms }
    pb::MoveLeaderResponse { "header" = header }
    pb::DowngradeResponse { "header" = header, "version" = version }
    pb::DowngradeInfo { "enabled" = enabled, "targetVersion" = target_version }
    pb::StatusResponse {
        "header" = header,
        "version" = version,
        "dbSize" = db_size,
        "leader" = leader,
        "raftIndex" = raft_index,
        "raftTerm" = raft_term,
        "raftAppliedIndex" = raft_applied_index,
        "errors" = errors,
        "dbSizeInUse" = db_size_in_use,
        "isLearner" = is_learner,
        "storageVersion" = storage_version,
        "dbSizeQuota" = db_size_quota,
        "downgradeInfo" = downgrade_info,
    }
    pb::HashKvResponse {
        "header" = header,
        "hash" = hash,
        "compact_revision" = compact_revision,
        "hash_revision" = hash_revision,
    }
    pb::AuthStatusResponse {
        "header" = header,
        "enabled" = enabled,
        "authRevision" = auth_revision,
    }
    pb::AuthUserAddResponse { "header" = header }
    pb::AuthUserGetResponse { "header" = header, "roles" = roles }
    pb::AuthUserListResponse { "header" = header, "users" = users }
    pb::AuthUserDeleteResponse { "header" = header }
    pb::AuthUserChangePasswordResponse { "header" = header }
    pb::AuthUserGrantRoleResponse { "header" = header }
    pb::AuthUserRevokeRoleResponse { "header" = header }
    authpb::Permission { "permType" = perm_type, "key" = key, "range_end" = range_end }
    pb::AuthRoleAddResponse { "header" = header }
    pb::AuthRoleGetResponse { "header" = header, "perm" = perm }
    pb::AuthRoleListResponse { "header" = header, "roles" = roles }
    pb::AuthRoleDeleteResponse { "header" = header }
    pb::AuthRoleGrantPermissionResponse { "header" = header }
    pb::AuthRoleRevokePermissionResponse { "header" = header }
}

/// Wraps what an operation of a transaction answered, as Go's types do.
impl Json for pb::ResponseOp {
    fn is_zero(&self) -> bool {
        false
    }

    fn write(&self, out: &mut String) {
        use pb::response_op::Response;
        out.push_str("{\"Response\":");
        let inner = Object::begin(out);
        match &self.response {
            Some(Response::ResponseRange(answer)) => inner.always("response_range", answer),
            Some(Response::ResponsePut(answer)) => inner.always("response_put", answer),
            Some(Response::ResponseDeleteRange(answer)) => {
                inner.always("response_delete_range", answer)
            }
            Some(Response::ResponseTxn(answer)) => inner.always("response_txn", answer),
            None => inner,
        }
        .end();
        out.push('}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_fields_are_left_out_and_html_is_escaped() {
        let member = pb::Member { id: 5, name: "<a&\"".to_owned(), ..Default::default() };
        assert_eq!(line(&member), "{\"ID\":5,\"name\":\"\\u003ca\\u0026\\\"\"}\n");
    }

    #[test]
    fn answers_of_operations_are_wrapped() {
        let put = pb::PutResponse::default();
        let response = Some(pb::response_op::Response::ResponsePut(put));
        assert_eq!(line(&pb::ResponseOp { response }), "{\"Response\":{\"response_put\":{}}}\n");
    }
}

//! Keys, values, transactions, events and leases.

use client::Notice;
use prost::Message;
use proto::etcdserverpb::response_op::Response;
use proto::mvccpb::event::EventType;
use proto::{etcdserverpb as pb, mvccpb};
use types::LeaseHex;

use super::json::{Json, Object};
use super::{Fields, Format, Printer, json, print, say, unsupported};
use crate::exit::{BAD_FEATURE, Failure};

/// Every byte as `\x00`.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect()
}

impl Printer {
    fn kv(&self, out: &mut Vec<u8>, kv: &mvccpb::KeyValue) {
        for bytes in [&kv.key, &kv.value].into_iter().skip(usize::from(self.value_only)) {
            if self.hex { say(out, hex(bytes)) } else { say(out, bytes) }
        }
    }

    /// `get`.
    pub fn range(&self, answer: &pb::RangeResponse) -> Result<(), Failure> {
        self.show(answer, |out| self.simple_range(out, answer), |out| fields_range(out, answer))
    }

    fn simple_range(&self, out: &mut Vec<u8>, answer: &pb::RangeResponse) {
        answer.kvs.iter().for_each(|kv| self.kv(out, kv));
    }

    /// `put`.
    pub fn put(&self, answer: &pb::PutResponse) -> Result<(), Failure> {
        self.show(answer, |out| self.simple_put(out, answer), |out| fields_put(out, answer))
    }

    fn simple_put(&self, out: &mut Vec<u8>, answer: &pb::PutResponse) {
        say(out, "OK");
        answer.prev_kv.iter().for_each(|kv| self.kv(out, kv));
    }

    /// `del`.
    pub fn delete(&self, answer: &pb::DeleteRangeResponse) -> Result<(), Failure> {
        self.show(answer, |out| self.simple_delete(out, answer), |out| fields_delete(out, answer))
    }

    fn simple_delete(&self, out: &mut Vec<u8>, answer: &pb::DeleteRangeResponse) {
        say(out, answer.deleted.to_string());
        answer.prev_kvs.iter().for_each(|kv| self.kv(out, kv));
    }

    /// `txn`.
    pub fn txn(&self, answer: &pb::TxnResponse) -> Result<(), Failure> {
        let simple = |out: &mut Vec<u8>| {
            say(out, if answer.succeeded { "SUCCESS" } else { "FAILURE" });
            for operation in &answer.responses {
                say(out, "");
                match &operation.response {
                    Some(Response::ResponseRange(answer)) => self.simple_range(out, answer),
                    Some(Response::ResponsePut(answer)) => self.simple_put(out, answer),
                    Some(Response::ResponseDeleteRange(answer)) => self.simple_delete(out, answer),
                    other => say(out, format!("unexpected response {other:?}")),
                }
            }
        };
        let fields = |out: &mut Fields| {
            out.header(&answer.header);
            out.bare("Succeeded", answer.succeeded);
            for operation in &answer.responses {
                match &operation.response {
                    Some(Response::ResponseRange(answer)) => fields_range(out, answer),
                    Some(Response::ResponsePut(answer)) => fields_put(out, answer),
                    Some(Response::ResponseDeleteRange(answer)) => fields_delete(out, answer),
                    other => out.quoted("Unknown", format!("{other:?}").as_bytes()),
                }
            }
        };
        self.show(answer, simple, fields)
    }

    /// `watch`.
    pub fn notice(&self, notice: &Notice) -> Result<(), Failure> {
        let header = Some(notice.header);
        let mut out = Vec::new();
        match self.format {
            Format::Simple => {
                for event in &notice.events {
                    say(&mut out, event_name(event));
                    event.prev_kv.iter().for_each(|kv| self.kv(&mut out, kv));
                    self.kv(&mut out, &event.kv.clone().unwrap_or_default());
                }
            }
            Format::Fields => {
                let mut fields = Fields::new(self.hex);
                fields.header(&header);
                for event in &notice.events {
                    fields.bare("Type", event_name(event));
                    event.prev_kv.iter().for_each(|kv| fields.kv("Prev", kv));
                    fields.kv("", &event.kv.clone().unwrap_or_default());
                }
                out = fields.take();
            }
            Format::Json => out = json::line(&NoticeJson(notice)).into_bytes(),
            Format::Protobuf => {
                out = pb::WatchResponse {
                    header,
                    events: notice.events.clone(),
                    compact_revision: notice.compact_revision,
                    canceled: notice.canceled,
                    ..Default::default()
                }
                .encode_to_vec();
            }
            Format::Table => return Err(unsupported("table")),
        }
        print(&out);
        Ok(())
    }

    /// `lease grant`.
    pub fn grant(&self, answer: &pb::LeaseGrantResponse) -> Result<(), Failure> {
        let simple =
            format!("lease {:016x} granted with TTL({}s)", LeaseHex(answer.id), answer.ttl);
        let fields = |out: &mut Fields| {
            out.header(&answer.header);
            out.lease("ID", answer.id);
            out.bare("TTL", answer.ttl);
        };
        let json = |object: Object<'_>| {
            let object = object.always("ID", &answer.id).always("TTL", &answer.ttl);
            object.always("Error", &answer.error).end();
        };
        self.flat(&answer.header, simple, fields, json)
    }

    /// `lease keep-alive`.
    pub fn keep_alive(&self, answer: &pb::LeaseKeepAliveResponse) -> Result<(), Failure> {
        let simple =
            format!("lease {:016x} keepalived with TTL({})", LeaseHex(answer.id), answer.ttl);
        let fields = |out: &mut Fields| {
            out.header(&answer.header);
            out.lease("ID", answer.id);
            out.bare("TTL", answer.ttl);
        };
        let json = |object: Object<'_>| {
            object.always("ID", &answer.id).always("TTL", &answer.ttl).end();
        };
        self.flat(&answer.header, simple, fields, json)
    }

    /// `lease timetolive`.
    pub fn time_to_live(
        &self,
        answer: &pb::LeaseTimeToLiveResponse,
        with_keys: bool,
    ) -> Result<(), Failure> {
        let pb::LeaseTimeToLiveResponse { id, ttl, granted_ttl, keys, .. } = answer;
        let shown = LeaseHex(*id);
        let mut simple = format!("lease {shown:016x} already expired");
        if *granted_ttl != 0 || *ttl != -1 {
            simple =
                format!("lease {shown:016x} granted with TTL({granted_ttl}s), remaining({ttl}s)");
            if with_keys {
                let keys: Vec<_> = keys.iter().map(|key| String::from_utf8_lossy(key)).collect();
                simple.push_str(&format!(", attached keys([{}])", keys.join(" ")));
            }
        }
        let fields = |out: &mut Fields| {
            out.header(&answer.header);
            out.lease("ID", *id);
            out.bare("TTL", ttl);
            out.bare("GrantedTTL", granted_ttl);
            keys.iter().for_each(|key| out.quoted("Key", key));
        };
        let json = |object: Object<'_>| {
            let object = object.always("id", id).always("ttl", ttl);
            let keys = (!keys.is_empty()).then_some(keys);
            object.always("granted-ttl", granted_ttl).always("keys", &keys).end();
        };
        self.flat(&answer.header, simple, fields, json)
    }

    /// `lease list`.
    pub fn leases(&self, answer: &pb::LeaseLeasesResponse) -> Result<(), Failure> {
        let mut simple = format!("found {} leases", answer.leases.len());
        for lease in &answer.leases {
            simple.push_str(&format!("\n{:016x}", LeaseHex(lease.id)));
        }
        let fields = |out: &mut Fields| {
            out.header(&answer.header);
            answer.leases.iter().for_each(|lease| out.lease("ID", lease.id));
        };
        let json = |object: Object<'_>| object.always("leases", &answer.leases).end();
        self.flat(&answer.header, simple, fields, json)
    }

    /// `lease revoke`.
    pub fn revoke(&self, id: i64, answer: &pb::LeaseRevokeResponse) -> Result<(), Failure> {
        if self.format == Format::Protobuf {
            let text = "marshal unsupported for type *clientv3.LeaseRevokeResponse (&{})";
            return Err(Failure::new(BAD_FEATURE, text));
        }
        let simple = |out: &mut Vec<u8>| say(out, format!("lease {:016x} revoked", LeaseHex(id)));
        self.show(answer, simple, |out| out.header(&answer.header))
    }

    /// Answers whose Go type embeds the header: its JSON has the header's fields among its own, its
    /// protobuf is the header alone.
    fn flat(
        &self,
        header: &Option<pb::ResponseHeader>,
        simple: String,
        fields: impl FnOnce(&mut Fields),
        json: impl FnOnce(Object<'_>),
    ) -> Result<(), Failure> {
        let header = header.unwrap_or_default();
        match self.format {
            Format::Json => {
                let mut out = String::new();
                let object = Object::begin(&mut out)
                    .unless_zero("cluster_id", &header.cluster_id)
                    .unless_zero("member_id", &header.member_id)
                    .unless_zero("revision", &header.revision)
                    .unless_zero("raft_term", &header.raft_term);
                json(object);
                out.push('\n');
                print(out.as_bytes());
                Ok(())
            }
            _ => self.show(&header, |out| say(out, simple), fields),
        }
    }
}

/// `PUT` or `DELETE`.
pub fn event_name(event: &mvccpb::Event) -> &'static str {
    if event.r#type() == EventType::Put { "PUT" } else { "DELETE" }
}

fn fields_range(out: &mut Fields, answer: &pb::RangeResponse) {
    out.header(&answer.header);
    answer.kvs.iter().for_each(|kv| out.kv("", kv));
    out.bare("More", answer.more);
    out.bare("Count", answer.count);
}

fn fields_put(out: &mut Fields, answer: &pb::PutResponse) {
    out.header(&answer.header);
    answer.prev_kv.iter().for_each(|kv| out.kv("Prev", kv));
}

fn fields_delete(out: &mut Fields, answer: &pb::DeleteRangeResponse) {
    out.header(&answer.header);
    out.bare("Deleted", answer.deleted);
    answer.prev_kvs.iter().for_each(|kv| out.kv("Prev", kv));
}

struct NoticeJson<'a>(&'a Notice);

impl Json for NoticeJson<'_> {
    fn is_zero(&self) -> bool {
        false
    }

    fn write(&self, out: &mut String) {
        let events = (!self.0.events.is_empty()).then_some(&self.0.events);
        Object::begin(out)
            .always("Header", &self.0.header)
            .always("Events", &events)
            .always("CompactRevision", &self.0.compact_revision)
            .always("Canceled", &self.0.canceled)
            .always("Created", &false)
            .always("CancelReason", &self.0.cancel_reason)
            .end();
    }
}

//! From the wire's words to ours.
//!
//! Everything here is total: a log may hold requests that no front let through, and the same bytes
//! must come out as the same decision on every member.

use mvcc::{
    Compare, DeleteRange, Filters, Operator, Put, RangeQuery, SortOrder, SortTarget, Target,
};
use proto::etcdserverpb as pb;
use proto::etcdserverpb::compare::TargetUnion;
use types::{KeyRange, Refusal};

/// A range as mvcc answers it.
///
/// # Errors
/// `EmptyKey`; `InvalidSortOption` for enum values nobody knows.
pub fn range_query(request: &pb::RangeRequest) -> Result<RangeQuery, Refusal> {
    use pb::range_request::{SortOrder as Order, SortTarget as By};
    let order = match Order::try_from(request.sort_order) {
        Ok(Order::None) => SortOrder::None,
        Ok(Order::Ascend) => SortOrder::Ascend,
        Ok(Order::Descend) => SortOrder::Descend,
        Err(_) => return Err(Refusal::InvalidSortOption),
    };
    let target = match By::try_from(request.sort_target) {
        Ok(By::Key) => SortTarget::Key,
        Ok(By::Version) => SortTarget::Version,
        Ok(By::Create) => SortTarget::Create,
        Ok(By::Mod) => SortTarget::Mod,
        Ok(By::Value) => SortTarget::Value,
        Err(_) => return Err(Refusal::InvalidSortOption),
    };
    Ok(RangeQuery {
        range: key_range(&request.key, &request.range_end)?,
        revision: request.revision,
        limit: request.limit,
        order,
        target,
        filters: Filters {
            min_mod_revision: request.min_mod_revision,
            max_mod_revision: request.max_mod_revision,
            min_create_revision: request.min_create_revision,
            max_create_revision: request.max_create_revision,
        },
        keys_only: request.keys_only,
        count_only: request.count_only,
    })
}

/// A put as mvcc does it.
///
/// # Errors
/// `EmptyKey`.
pub fn put(request: &pb::PutRequest) -> Result<Put, Refusal> {
    if request.key.is_empty() {
        return Err(Refusal::EmptyKey);
    }
    Ok(Put {
        key: request.key.clone(),
        value: request.value.clone(),
        lease: request.lease,
        ignore_value: request.ignore_value,
        ignore_lease: request.ignore_lease,
        prev_kv: request.prev_kv,
    })
}

/// A delete as mvcc does it.
///
/// # Errors
/// `EmptyKey`.
pub fn delete_range(request: &pb::DeleteRangeRequest) -> Result<DeleteRange, Refusal> {
    let range = key_range(&request.key, &request.range_end)?;
    Ok(DeleteRange { range, prev_kv: request.prev_kv })
}

/// A condition as mvcc checks it. A value of another kind than the target counts as 0 or empty.
///
/// # Errors
/// `EmptyKey`.
pub fn compare(request: &pb::Compare) -> Result<Compare, Refusal> {
    use pb::compare::{CompareResult as By, CompareTarget as What};
    let operator = match By::try_from(request.result) {
        Ok(By::Equal) => Operator::Equal,
        Ok(By::Greater) => Operator::Greater,
        Ok(By::Less) => Operator::Less,
        Ok(By::NotEqual) => Operator::NotEqual,
        Err(_) => Operator::Unknown,
    };
    let given = request.target_union.as_ref();
    let target = match What::try_from(request.target) {
        Ok(What::Version) => Target::Version(match given {
            Some(TargetUnion::Version(version)) => *version,
            _ => 0,
        }),
        Ok(What::Create) => Target::Create(match given {
            Some(TargetUnion::CreateRevision(revision)) => *revision,
            _ => 0,
        }),
        Ok(What::Mod) => Target::Mod(match given {
            Some(TargetUnion::ModRevision(revision)) => *revision,
            _ => 0,
        }),
        Ok(What::Value) => Target::Value(match given {
            Some(TargetUnion::Value(value)) => value.clone(),
            _ => Default::default(),
        }),
        Ok(What::Lease) => Target::Lease(match given {
            Some(TargetUnion::Lease(lease)) => *lease,
            _ => 0,
        }),
        Err(_) => Target::Unknown,
    };
    Ok(Compare { range: key_range(&request.key, &request.range_end)?, target, operator })
}

/// The keys a request speaks of.
///
/// # Errors
/// `EmptyKey`.
pub fn key_range(key: &bytes::Bytes, range_end: &bytes::Bytes) -> Result<KeyRange, Refusal> {
    KeyRange::from_wire(key, range_end).map_err(|_| Refusal::EmptyKey)
}

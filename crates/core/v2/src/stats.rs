//! What a tree has done, counted as etcd counts it.

macro_rules! counters {
    ($($(#[$doc:meta])* $field:ident = $name:literal,)*) => {
        /// How often what was asked for. Each member counts for itself.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Stats {
            $($(#[$doc])* pub $field: u64,)*
        }

        impl Stats {
            /// The counters by the names of `/v2/stats/store`, in its order.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$(($name, self.$field),)*].into_iter()
            }
        }
    };
}

counters! {
    /// Reads that found something.
    gets_success = "getsSuccess",
    /// Reads that did not.
    gets_fail = "getsFail",
    /// Writes without a condition.
    sets_success = "setsSuccess",
    /// Those refused.
    sets_fail = "setsFail",
    /// Deletions.
    delete_success = "deleteSuccess",
    /// Those refused.
    delete_fail = "deleteFail",
    /// Writes to what must be there.
    update_success = "updateSuccess",
    /// Those refused.
    update_fail = "updateFail",
    /// Writes of what must not be there.
    create_success = "createSuccess",
    /// Those refused.
    create_fail = "createFail",
    /// Writes on a condition.
    compare_and_swap_success = "compareAndSwapSuccess",
    /// Those refused.
    compare_and_swap_fail = "compareAndSwapFail",
    /// Deletions on a condition.
    compare_and_delete_success = "compareAndDeleteSuccess",
    /// Those refused because there was nothing.
    compare_and_delete_fail = "compareAndDeleteFail",
    /// Nodes whose time was over.
    expire_count = "expireCount",
}

//! The documentation of the metrics, made from the same table as the page.

use std::fmt::Write;

use crate::Metrics;

/// The text of `docs/metrics.md`.
pub fn documentation() -> String {
    let mut out = String::from(
        "# Metrics\n\n\
         Served at `/metrics` on the client URLs and on `--listen-metrics-urls`, in Prometheus's text \
         format. Names, labels and buckets are those of etcd 3.7, so its dashboards and alert rules \
         work unchanged. A family with labels appears once it has a member.\n\n\
         The Go runtime's families (`go_*`, `promhttp_*`) are left out: there is no such runtime here.\n\n\
         | metric | type | labels | meaning |\n|---|---|---|---|\n",
    );
    for about in Metrics::new(true).families() {
        let labels = about.labels.join(", ");
        writeln!(out, "| `{}` | {} | {labels} | {} |", about.name, about.kind, about.help)
            .expect("a String takes whatever is written");
    }
    out
}

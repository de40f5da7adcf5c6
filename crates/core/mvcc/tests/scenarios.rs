//! Plays `scenarios/*.txt`: blocks of commands, `----`, and all that they answer.
//!
//! `HOLDFAST_BLESS=1 cargo test -p holdfast-mvcc --test scenarios` writes what came out into the
//! files; the diff then shows what changed. Ranges are written `a`, `[a,c)` and `[a,)`.

#![allow(clippy::disallowed_methods, reason = "a test may know the world around what it tests")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use bytes::Bytes;
use holdfast_mvcc::{
    CompactionHashes, Compare, DeleteRange, HashAnswer, HashTriple, Hasher, ImageReader, Mvcc,
    Operator, Put, RangeQuery, ReadError, RowFault, RowMeta, RowSource, SortOrder, SortTarget,
    Target, Txn,
};
use types::{KeyRange, Refusal, Revision, Row};

#[derive(Default)]
struct Rows(BTreeMap<Revision, Row>);

impl RowSource for Rows {
    fn row(&self, revision: Revision) -> Result<Row, RowFault> {
        let missing = || RowFault { revision, source: "forgotten".into() };
        self.0.get(&revision).cloned().ok_or_else(missing)
    }
}

#[derive(Default)]
struct Play {
    mvcc: Mvcc,
    rows: Rows,
    hashes: CompactionHashes,
    image: Option<Vec<Bytes>>,
}

/// One command: its name, its first argument and its options.
struct Command<'a> {
    name: &'a str,
    subject: &'a str,
    options: Vec<&'a str>,
}

impl<'a> Command<'a> {
    fn parse(line: &'a str) -> Command<'a> {
        let mut words = line.split_whitespace();
        let name = words.next().expect("blank lines end a block");
        Command { name, subject: words.next().unwrap_or(""), options: words.collect() }
    }

    fn has(&self, option: &str) -> bool {
        self.options.contains(&option)
    }

    fn value(&self, option: &str) -> Option<&'a str> {
        let named = |word: &&'a str| word.split_once('=').filter(|(name, _)| *name == option);
        self.options.iter().find_map(named).map(|(_, value)| value)
    }

    fn number(&self, option: &str) -> i64 {
        self.value(option).map_or(0, |text| text.parse().expect("a number"))
    }

    fn subject_number(&self) -> i64 {
        self.subject.parse().expect("a number")
    }

    fn range(&self) -> KeyRange {
        range(self.subject)
    }

    fn query(&self) -> RangeQuery {
        let mut query = RangeQuery::new(self.range());
        query.revision = self.number("revision");
        query.limit = self.number("limit");
        query.keys_only = self.has("keys_only");
        query.count_only = self.has("count_only");
        query.filters.min_mod_revision = self.number("min_mod");
        query.filters.max_mod_revision = self.number("max_mod");
        query.filters.min_create_revision = self.number("min_create");
        query.filters.max_create_revision = self.number("max_create");
        query.order = match self.value("order") {
            None => SortOrder::None,
            Some("ascend") => SortOrder::Ascend,
            Some("descend") => SortOrder::Descend,
            Some(other) => panic!("no such order: {other}"),
        };
        query.target = match self.value("by") {
            None | Some("key") => SortTarget::Key,
            Some("version") => SortTarget::Version,
            Some("create") => SortTarget::Create,
            Some("mod") => SortTarget::Mod,
            Some("value") => SortTarget::Value,
            Some(other) => panic!("no such target: {other}"),
        };
        query
    }

    fn put(&self) -> Put {
        let (key, value) = self.subject.split_once('=').unwrap_or((self.subject, ""));
        Put {
            key: Bytes::copy_from_slice(key.as_bytes()),
            value: Bytes::copy_from_slice(value.as_bytes()),
            lease: self.number("lease"),
            ignore_value: self.has("ignore_value"),
            ignore_lease: self.has("ignore_lease"),
            prev_kv: self.has("prev_kv"),
        }
    }

    /// `if [a,c) version > 3`.
    fn compare(&self) -> Compare {
        let [target, operator, given] = self.options[..] else {
            panic!("if RANGE TARGET OP VALUE")
        };
        let number = || given.parse().expect("a number");
        let target = match target {
            "version" => Target::Version(number()),
            "create" => Target::Create(number()),
            "mod" => Target::Mod(number()),
            "lease" => Target::Lease(number()),
            "value" => Target::Value(Bytes::copy_from_slice(given.as_bytes())),
            _ => Target::Unknown,
        };
        let operator = match operator {
            "=" => Operator::Equal,
            ">" => Operator::Greater,
            "<" => Operator::Less,
            "!=" => Operator::NotEqual,
            _ => Operator::Unknown,
        };
        Compare { range: self.range(), target, operator }
    }
}

fn range(text: &str) -> KeyRange {
    let Some(inner) = text.strip_prefix('[').and_then(|text| text.strip_suffix(')')) else {
        return KeyRange::One(Bytes::copy_from_slice(text.as_bytes()));
    };
    let (start, end) = inner.split_once(',').expect("a range has two ends");
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    if end.is_empty() {
        return KeyRange::From { start: bytes(start) };
    }
    KeyRange::Between { start: bytes(start), end: bytes(end) }
}

impl Play {
    fn block(&mut self, lines: &[&str]) -> String {
        let mut out = String::new();
        let mut lines = lines.iter().filter(|line| !line.starts_with('#'));
        while let Some(line) = lines.next() {
            if *line == "txn" {
                let operations: Vec<&str> =
                    lines.by_ref().take_while(|line| **line != "end").copied().collect();
                self.txn(&operations, &mut out);
            } else {
                self.command(&Command::parse(line), &mut out);
            }
        }
        out
    }

    fn command(&mut self, command: &Command<'_>, out: &mut String) {
        match command.name {
            "put" | "delete" => self.write(command, out),
            "range" => show_range(self.mvcc.now().range(&self.rows, &command.query()), out),
            "pages" => self.pages(command, out),
            "if" => {
                let holds = self.mvcc.now().holds(&self.rows, &command.compare());
                line(out, if holds.expect("no fault") { "holds" } else { "fails" });
            }
            "may-read" => {
                show_refused(self.mvcc.now().check_txn_range(command.subject_number()), out);
            }
            "compact" => self.compact(command.subject_number(), out),
            "prune" => self.prune(out),
            "rows" => self.rows.0.values().for_each(|row| line(out, &row_text(row))),
            "hash" => self.hash(command.subject_number(), out),
            "hashes" => {
                self.hashes.newest_first().for_each(|triple| line(out, &triple_text(triple)))
            }
            "image" => self.image = Some(self.mvcc.now().image().collect()),
            "restart" => self.restart(out),
            "leases" => {
                for (key, lease) in self.mvcc.now().attachments() {
                    line(out, &format!("{} lease={lease}", key.escape_ascii()));
                }
            }
            other => panic!("no such command: {other}"),
        }
    }

    fn write(&mut self, command: &Command<'_>, out: &mut String) {
        let mut txn = self.mvcc.begin();
        operation(&mut txn, &self.rows, command, out);
        let revision = txn.revision();
        let changes = txn.finish();
        line(out, &format!("revision {revision}"));
        self.rows.0.extend(changes.rows.into_iter().map(|row| (row.revision, row)));
    }

    fn txn(&mut self, operations: &[&str], out: &mut String) {
        let mut txn = self.mvcc.begin();
        for text in operations {
            operation(&mut txn, &self.rows, &Command::parse(text), out);
            line(out, &format!("header {}", txn.revision()));
        }
        let changes = txn.finish();
        line(out, &format!("revision {}", changes.revision));
        for (row, previous) in changes.rows.iter().zip(&changes.previous) {
            let before = previous.map_or("nothing".to_string(), |revision| revision.to_string());
            line(out, &format!("event {} after {before}", row_text(row)));
        }
        for moved in &changes.lease_moves {
            let key = moved.key.escape_ascii();
            line(out, &format!("lease of {key}: {} to {}", moved.from, moved.to));
        }
        self.rows.0.extend(changes.rows.into_iter().map(|row| (row.revision, row)));
    }

    fn pages(&mut self, command: &Command<'_>, out: &mut String) {
        let pages = self.mvcc.now().pages(&self.rows, command.query(), &mut |_| Ok(()));
        let mut pages = pages.expect("a readable revision");
        let size = command.number("size") as usize;
        while let Some(page) = pages.next_page(&self.rows, size, &mut |_| Ok(())).expect("no fault")
        {
            line(out, if page.last { "last page" } else { "page" });
            page.rows.iter().for_each(|row| line(out, &row_text(row)));
        }
        line(out, &format!("count {} more {}", pages.count(), pages.more()));
    }

    fn compact(&mut self, revision: i64, out: &mut String) {
        let mut hasher = self.mvcc.now().compaction_hash(revision);
        let result = self.mvcc.compact(revision);
        if result.is_ok() {
            feed(&mut hasher, &self.rows);
            self.hashes.store(hasher.finish());
        }
        show_refused(result, out);
    }

    fn prune(&mut self, out: &mut String) {
        loop {
            let progress = self.mvcc.compact_step(1);
            for revision in &progress.dead {
                match self.rows.0.remove(revision) {
                    Some(row) => line(out, &format!("dead {}", row_text(&row))),
                    None => line(out, &format!("dead again {revision}")),
                }
            }
            if progress.finished {
                return;
            }
        }
    }

    fn hash(&mut self, revision: i64, out: &mut String) {
        match self.mvcc.now().hash_kv(revision, &self.hashes) {
            Ok(HashAnswer::Stored(triple)) => line(out, &format!("stored {}", triple_text(triple))),
            Ok(HashAnswer::Compute(mut hasher)) => {
                feed(&mut hasher, &self.rows);
                line(out, &triple_text(hasher.finish()));
            }
            Err(refusal) => show_refused(Err(refusal), out),
        }
    }

    fn restart(&mut self, out: &mut String) {
        let mut reader = ImageReader::new();
        let image = self.image.take().unwrap_or_else(|| Mvcc::new().now().image().collect());
        image.iter().for_each(|chunk| reader.feed(chunk).expect("our own image"));
        let mut restore = reader.finish().expect("our own image");
        let after = Revision::first_of(restore.revision() + 1);
        for (_, row) in self.rows.0.range(after..) {
            restore.row(RowMeta::from(row)).expect("rows in order");
        }
        self.mvcc = restore.finish(self.mvcc.compact_revision());
        let (current, compacted) = (self.mvcc.current_revision(), self.mvcc.compact_revision());
        line(out, &format!("at {current} compacted {compacted}"));
    }
}

fn operation(txn: &mut Txn<'_>, rows: &Rows, command: &Command<'_>, out: &mut String) {
    match command.name {
        "put" => match txn.put(rows, &command.put()) {
            Ok(previous) => previous.iter().for_each(|row| before(row, out)),
            Err(error) => line(out, &error.to_string()),
        },
        "delete" => {
            let delete = DeleteRange { range: command.range(), prev_kv: command.has("prev_kv") };
            let deleted = txn.delete_range(rows, &delete).expect("no fault");
            line(out, &format!("deleted {}", deleted.count));
            deleted.previous.iter().for_each(|row| before(row, out));
        }
        "range" => show_range(txn.range(rows, &command.query()), out),
        other => panic!("no such operation: {other}"),
    }
}

fn before(row: &Row, out: &mut String) {
    line(out, &format!("before {}", row_text(row)));
}

fn show_range(answer: Result<holdfast_mvcc::RangeResult, ReadError>, out: &mut String) {
    match answer {
        Ok(result) => {
            result.rows.iter().for_each(|row| line(out, &row_text(row)));
            line(out, &format!("count {}{}", result.count, if result.more { " more" } else { "" }));
        }
        Err(error) => line(out, &error.to_string()),
    }
}

fn show_refused(result: Result<(), Refusal>, out: &mut String) {
    line(out, result.as_ref().map_or_else(|refusal| refusal.message(), |()| "ok"));
}

fn row_text(row: &Row) -> String {
    let (key, at) = (row.key().escape_ascii(), row.revision);
    if row.tombstone {
        return format!("{key} deleted at {at}");
    }
    let lease = if row.lease == 0 { String::new() } else { format!(" lease {}", row.lease) };
    let (value, create, version) = (row.value().escape_ascii(), row.create_revision, row.version);
    format!("{key}={value} at {at} create {create} version {version}{lease}")
}

fn triple_text(triple: HashTriple) -> String {
    let HashTriple { hash, compact_revision, revision } = triple;
    format!("hash {hash} compacted {compact_revision} revision {revision}")
}

fn feed(hasher: &mut Hasher, rows: &Rows) {
    rows.0.values().for_each(|row| hasher.row(row));
}

fn line(out: &mut String, text: &str) {
    writeln!(out, "{text}").expect("a string takes everything");
}

/// Plays a file and gives it back with what really came out.
fn play(text: &str) -> String {
    let mut play = Play::default();
    let blocks = text.trim_end().split("\n\n").map(|block| {
        let lines: Vec<&str> = block.lines().take_while(|line| *line != "----").collect();
        if lines.iter().all(|line| line.starts_with('#')) {
            return format!("{}\n", lines.join("\n"));
        }
        format!("{}\n----\n{}", lines.join("\n"), play.block(&lines))
    });
    blocks.collect::<Vec<_>>().join("\n")
}

#[test]
fn every_scenario_answers_as_it_is_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let bless = std::env::var_os("HOLDFAST_BLESS").is_some();
    let mut played = 0;
    for entry in std::fs::read_dir(&folder).expect("the folder is there") {
        let path = entry.expect("a readable folder").path();
        let text = std::fs::read_to_string(&path).expect("a readable file");
        let actual = play(&text);
        if bless {
            std::fs::write(&path, &actual).expect("a writable file");
        }
        assert_eq!(actual, if bless { actual.clone() } else { text }, "{}", path.display());
        played += 1;
    }
    assert!(played >= 5, "the scenarios were found");
}

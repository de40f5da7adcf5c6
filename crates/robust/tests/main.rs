//! The tests with real processes, in one binary because linking is dear.

mod oracle;

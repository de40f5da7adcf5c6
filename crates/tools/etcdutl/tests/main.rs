//! All tests of the program, in one binary because linking is dear.

mod backup;
mod bad_input;
mod cli;
mod docs;
mod holdfast;
mod inspect;
mod matrix;
mod oracle;
mod salvage;
mod support;

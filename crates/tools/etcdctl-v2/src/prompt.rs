//! Asks for passwords on stdin, without showing them when that is a terminal.

use std::io::{self, BufRead};

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

/// Asks for a line. Nothing at all is an empty password, which the server refuses where it matters.
pub fn secret(question: &str) -> String {
    crate::exit::print(question.as_bytes());
    let stdin = io::stdin();
    let before = tcgetattr(&stdin).ok();
    if let Some(mut silent) = before.clone() {
        silent.local_modes &= !LocalModes::ECHO;
        // What cannot be hidden is asked for all the same, as everywhere.
        let _ = tcsetattr(&stdin, OptionalActions::Flush, &silent);
    }
    let mut answer = String::new();
    let _ = stdin.lock().read_line(&mut answer);
    if let Some(before) = before {
        let _ = tcsetattr(&stdin, OptionalActions::Flush, &before);
    }
    crate::exit::print(b"\n");
    answer.trim_end_matches(['\n', '\r']).to_owned()
}

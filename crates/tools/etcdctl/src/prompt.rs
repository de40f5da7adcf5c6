//! Asks for passwords: on the terminal, without showing them.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

/// Asks for a line that is not shown. Without a terminal it comes from stdin.
pub fn secret(question: &str) -> io::Result<String> {
    match OpenOptions::new().read(true).write(true).open("/dev/tty") {
        Ok(terminal) => on_terminal(terminal, question),
        Err(_) => {
            crate::output::print(question.as_bytes());
            let answer = line(&mut io::stdin().lock());
            crate::output::print(b"\n");
            answer
        }
    }
}

fn on_terminal(mut terminal: File, question: &str) -> io::Result<String> {
    terminal.write_all(question.as_bytes())?;
    let before = tcgetattr(&terminal)?;
    let mut silent = before.clone();
    silent.local_modes &= !LocalModes::ECHO;
    tcsetattr(&terminal, OptionalActions::Flush, &silent)?;
    let answer = line(&mut BufReader::new(&terminal));
    tcsetattr(&terminal, OptionalActions::Flush, &before)?;
    terminal.write_all(b"\n")?;
    answer
}

fn line(from: &mut impl BufRead) -> io::Result<String> {
    let mut answer = String::new();
    // Nothing at all is an empty password, which is refused where it matters.
    from.read_line(&mut answer)?;
    Ok(answer.trim_end_matches(['\n', '\r']).to_owned())
}

/// The first word on stdin, for scripts.
pub fn word() -> String {
    let mut line = String::new();
    // Without input the word is empty, and the server says what it thinks of that.
    let _ = io::stdin().lock().read_line(&mut line);
    line.split_whitespace().next().unwrap_or_default().to_owned()
}

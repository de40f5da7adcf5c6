//! A TCP forwarder that breaks in every way a network does.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What the forwarder does with what it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    /// Hands on.
    Pass,
    /// Accepts, takes nothing, answers nothing; what is open stands still.
    Stall,
    /// What the dialler sends is thrown away; the other direction works.
    DeafForward,
    /// What the dialled side sends is thrown away.
    DeafBack,
    /// Every other piece is thrown away, both ways.
    HalfLost,
    /// Closes all that is open, and at once whatever comes.
    Closed,
}

/// Stands between a dialler and a member.
pub struct Forwarder {
    pub url: String,
    mode: Arc<AtomicU8>,
    open: Arc<Mutex<Vec<TcpStream>>>,
    pub accepted: Arc<Mutex<usize>>,
}

impl Forwarder {
    pub fn to(target: SocketAddr) -> Forwarder {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mode = Arc::new(AtomicU8::new(Mode::Pass as u8));
        let (open, accepted) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(0)));
        let forwarder = Forwarder { url, mode: mode.clone(), open: open.clone(), accepted };
        let accepted = forwarder.accepted.clone();
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                *accepted.lock().unwrap() += 1;
                if mode.load(Ordering::Acquire) == Mode::Closed as u8 {
                    continue;
                }
                let Ok(far) = TcpStream::connect(target) else { continue };
                let mut open = open.lock().unwrap();
                open.extend([near.try_clone().unwrap(), far.try_clone().unwrap()]);
                drop(open);
                let both = [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)];
                for (back, (from, to)) in both.into_iter().enumerate() {
                    let mode = mode.clone();
                    std::thread::spawn(move || carry(from, to, back == 1, &mode));
                }
            }
        });
        forwarder
    }

    pub fn set(&self, mode: Mode) {
        self.mode.store(mode as u8, Ordering::Release);
        if mode == Mode::Closed {
            self.cut();
        }
    }

    /// Cuts every connection that is open.
    pub fn cut(&self) {
        for stream in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, back: bool, mode: &AtomicU8) {
    let mut buffer = [0; 4096];
    let mut lose = false;
    loop {
        let now = mode.load(Ordering::Acquire);
        if now == Mode::Stall as u8 {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        }
        let Ok(count) = from.read(&mut buffer) else { break };
        if count == 0 {
            break;
        }
        // The mode may have changed while nothing came.
        while mode.load(Ordering::Acquire) == Mode::Stall as u8 {
            std::thread::sleep(Duration::from_millis(5));
        }
        let now = mode.load(Ordering::Acquire);
        lose = !lose;
        let lost = (now == Mode::DeafForward as u8 && !back)
            || (now == Mode::DeafBack as u8 && back)
            || (now == Mode::HalfLost as u8 && lose);
        if !lost && to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}

//! Snapshots on their way between members: a database in pieces, into a file of the receiver's, then the message.
//!
//! As `peer` does it: the file is synced and named before raft hears of it, no name is given twice, and its sender is
//! told whether it arrived, which it may not learn.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use consensus::Message;
use exchange::{Image, MemberSnapshot};
use history::Violation;
use member::FrontInput;
use types::MemberId;
use vfs::{Disk, File, replace_durably};

use crate::jobs::SNAP_DIR;
use crate::world::World;

/// One snapshot on its way.
pub(crate) struct Transfer {
    message: Message,
    /// Machine and boot of both ends: a process that has ended sends and takes nothing.
    from: (usize, u64),
    to: (usize, u64),
    state: Flow,
    /// Whether its receiver has a file of its name already.
    is_there: bool,
    pub(crate) due: u64,
}

enum Flow {
    Begins(Box<Image>),
    Flows { body: Box<MemberSnapshot>, file: Arc<dyn File>, temporary: PathBuf, written: u64 },
}

impl World {
    /// A member sends a snapshot.
    pub(crate) fn send_snapshot(&mut self, place: usize, message: Message, image: Image) {
        let to = self.place_of(message.to());
        self.note(&format!("m{place} sends a snapshot to {to:?}: {:?}", image.applied()));
        let Some(to) = to else {
            self.tell_sender(place, message.to(), false);
            return;
        };
        let boots = |place: usize| self.machines[place].boots;
        let (from, to) = ((place, boots(place)), (to, boots(to)));
        let due = self.now_ms + self.chance.between(1, 50);
        self.transfers.push(Transfer {
            message,
            from,
            to,
            state: Flow::Begins(Box::new(image)),
            is_there: false,
            due,
        });
    }

    fn tell_sender(&mut self, place: usize, peer: MemberId, arrived: bool) {
        if let Some(running) = &mut self.machines[place].running {
            running.to_front.push_back(FrontInput::SnapshotSent { peer, arrived });
            if !arrived {
                running.to_front.push_back(FrontInput::Unreachable { peer });
            }
        }
    }

    /// A piece more of a snapshot on its way.
    pub(crate) fn transfer(&mut self, number: usize) -> Result<(), Violation> {
        let mut transfer = self.transfers.swap_remove(number);
        let peer = transfer.message.to();
        let there = |(place, boots): (usize, u64)| {
            let machine = &self.machines[place];
            machine.running.is_some() && machine.boots == boots
        };
        let (sends, takes) = (there(transfer.from), there(transfer.to));
        let broken = self.chance.one_in(60);
        let cut = self.network.is_cut(transfer.message.from(), peer);
        if !sends || !takes || broken || cut {
            transfer.give_up(&self.machines[transfer.to.0].disk);
            if sends {
                self.note(&format!("a snapshot to m{} breaks off", transfer.to.0));
                self.tell_sender(transfer.from.0, peer, false);
            }
            return Ok(());
        }
        let disk = self.machines[transfer.to.0].disk.clone();
        let chunk = self.chance.pick(&[4096, 65_536, 1 << 20]);
        match transfer.piece(&disk, chunk, self.number()) {
            Ok(false) => {
                transfer.due = self.now_ms + self.chance.between(0, 10);
                self.transfers.push(transfer);
            }
            Ok(true) if transfer.is_there => {
                self.note(&format!("a snapshot is at m{} already", transfer.to.0));
                transfer.give_up(&disk);
                self.tell_sender(transfer.from.0, peer, false);
            }
            Ok(true) => self.arrived(transfer),
            Err(why) => {
                self.note(&format!("a snapshot to m{} fails: {why}", transfer.to.0));
                let ill =
                    [transfer.from.0, transfer.to.0].map(|place| self.machines[place].suspect);
                if !ill.contains(&true) {
                    return Err(Violation(format!("a snapshot fails on good disks: {why}")));
                }
                self.tell_sender(transfer.from.0, peer, false);
            }
        }
        Ok(())
    }

    fn arrived(&mut self, transfer: Transfer) {
        let Transfer { message, from: (from, _), to: (to, _), .. } = transfer;
        let peer = message.to();
        self.note(&format!("a snapshot is at m{to}"));
        // The sender may never hear that it did.
        let heard = !self.chance.one_in(8);
        self.tell_sender(from, peer, heard);
        if let Some(running) = &mut self.machines[to].running {
            running.to_front.push_back(FrontInput::Received(Box::new(message)));
        }
    }
}

impl Transfer {
    /// Moves a piece; whether that was the last.
    fn piece(&mut self, disk: &dyn Disk, chunk: usize, number: u64) -> Result<bool, String> {
        let told = |error: std::io::Error| error.to_string();
        let dir = Path::new(SNAP_DIR);
        if let Flow::Begins(image) = &self.state {
            disk.create_dir_all(dir).map_err(told)?;
            let temporary = dir.join(format!("tmp{number:016x}.snap.db"));
            let file = disk.create(&temporary).map_err(told)?;
            let body = (**image).clone().stream(chunk).map_err(|error| error.to_string())?;
            self.state = Flow::Flows { body: Box::new(body), file, temporary, written: 0 };
            return Ok(false);
        }
        let Flow::Flows { body, file, temporary, written } = &mut self.state else {
            unreachable!("it has begun");
        };
        match body.next() {
            Some(piece) => {
                let piece = piece.map_err(|error| crate::out::causes(&error))?;
                file.write_all_at(&piece, *written).map_err(told)?;
                *written += piece.len() as u64;
                Ok(false)
            }
            None => {
                file.sync_data().map_err(told)?;
                let metadata = self.message.snapshot.as_ref().and_then(|s| s.metadata.as_ref());
                let index = metadata.map_or(0, |metadata| metadata.index());
                let named = member::spooled(dir, index);
                self.is_there = disk.exists(&named).map_err(told)?;
                if !self.is_there {
                    replace_durably(disk, temporary, &named).map_err(told)?;
                }
                Ok(true)
            }
        }
    }

    fn give_up(&self, disk: &dyn Disk) {
        if let Flow::Flows { temporary, .. } = &self.state {
            // A process that is gone leaves it behind.
            let _ = disk.remove(temporary);
        }
    }
}

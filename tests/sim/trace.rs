//! The trace: every event hashed, and told in words where somebody looks; what broke is told with the last of them.

use bytes::Bytes;
use dustfs::base::Table;
use dustfs::node::io::{Action, DiskRequest, Done, Input, Op, Pair, Segment};

use super::world::World;

/// Events kept for the report of what broke.
const LINES: usize = 80;

impl World {
    /// One line of the trace: hashed always, kept and printed in words where somebody looks.
    pub fn note(&mut self, at: usize, what: &str, bytes: &[u8], words: impl FnOnce() -> String) {
        self.hash.update(&self.now.to_be_bytes());
        self.hash.update(&(at as u64).to_be_bytes());
        self.hash.update(what.as_bytes());
        self.hash.update(bytes);
        if self.record {
            let name = self.machines.get(at).map_or("world", |machine| &machine.name);
            let mut words = words();
            words.truncate(words.char_indices().nth(400).map_or(words.len(), |(at, _)| at));
            let line = format!("{:>12.6} {name:<8} {what:<8} {words}", self.now as f64 / 1e6);
            if self.lines.len() >= LINES {
                self.lines.pop_front();
            }
            if self.print {
                println!("{line}");
            }
            self.lines.push_back(line);
        }
    }

    pub fn note_input(&mut self, at: usize, input: &Input) {
        match input {
            Input::Tick => self.note(at, "tick", &[], String::new),
            Input::Frame { conn, channel, payload } => {
                self.note(at, "frame", payload, || format!("{} {channel}: {}", conn.0, gist(*channel, payload)));
            }
            Input::Disk { ticket, done } => {
                let good = matches!(
                    done,
                    Done::Sealed(Ok(_))
                        | Done::Stored(Ok(_))
                        | Done::Read(Ok(_))
                        | Done::Unsealed(Ok(_))
                        | Done::Hashed(Ok(_))
                        | Done::Committed(Ok(()))
                        | Done::Punched(Ok(()))
                );
                self.note(at, "done", &[u8::from(good)], || {
                    format!("{ticket:?} {}", if good { "good" } else { "bad" })
                });
            }
            Input::Sent { conn, bytes } => {
                self.note(at, "sent", &bytes.to_be_bytes(), || format!("{} {bytes}", conn.0));
            }
            Input::Op { ticket, op } => self.note(at, "op", &[], || format!("{ticket:?} {}", short(op))),
            other => self.note(at, "input", &[], || format!("{other:?}")),
        }
    }

    pub fn note_action(&mut self, at: usize, action: &Action) {
        match action {
            Action::Send { conn, channel, head, body } => {
                self.note(at, "send", head, || {
                    format!("{} {channel}: {} +{}", conn.0, gist(*channel, head), body.len())
                });
            }
            Action::Disk { ticket, request } => {
                self.note(at, "disk", &[], || format!("{ticket:?} {}", wish(request)));
            }
            Action::Invalidate(stale) => {
                self.note(at, "stale", &stale.len().to_be_bytes(), || format!("{} names", stale.len()));
            }
            Action::Reply { .. } => {}
            other => self.note(at, "action", &[], || format!("{other:?}")),
        }
    }

    /// The hash of all that has happened.
    pub fn trace_hash(&self) -> [u8; 32] {
        *self.hash.finalize().as_bytes()
    }

    /// Something that must hold does not.
    pub fn broken(&self, why: &str) -> ! {
        let last = self.lines.iter().map(|line| format!("\n    {line}")).collect::<String>();
        panic!("seed {} at {:.6} s: {why}{last}", self.seed, self.now as f64 / 1e6);
    }
}

/// What a frame is, in a few words.
fn gist(channel: u32, payload: &[u8]) -> String {
    if channel != 0 {
        return format!("{} bytes, message {:?}", payload.len(), payload.get(4).or(payload.first()));
    }
    match dustfs::wire::control::Control::decode(payload) {
        Ok(Some(control)) => {
            let words = format!("{control:?}");
            let at = words.char_indices().nth(300).map_or(words.len(), |(at, _)| at);
            format!("{} bytes {}", payload.len(), &words[..at])
        }
        Ok(None) => format!("{} bytes, unknown", payload.len()),
        Err(_) => format!("{} bytes, no control message", payload.len()),
    }
}

fn short(op: &Op) -> String {
    match op {
        Op::Write { handle, offset, data } => format!("Write {handle:?} at {offset:?}, {} bytes", data.len()),
        other => format!("{other:?}"),
    }
}

/// What the disk is asked for, without the bytes.
fn wish(request: &DiskRequest) -> String {
    let places = |segments: &[Segment]| {
        let place = |s: &Segment| format!(" {}:{}+{}", s.slab, s.offset, s.length);
        segments.iter().map(place).collect::<String>()
    };
    match request {
        DiskRequest::Seal { segment, plaintext, .. } => {
            format!("seal {} bytes{}", plaintext.len(), places(&[*segment]))
        }
        DiskRequest::Patch { from, segment, patches, .. } => {
            format!("patch {} spans{}", patches.count(), places(&[*from, *segment]))
        }
        DiskRequest::Store { sha1, segments, .. } => format!("store {:02x?}{}", &sha1[..4], places(segments)),
        DiskRequest::Read { segments } => format!("read{}", places(segments)),
        DiskRequest::Unseal { segment, .. } => format!("unseal{}", places(&[*segment])),
        DiskRequest::Hash { chunks, piece_length, .. } => format!("hash by {piece_length}{}", places(chunks)),
        DiskRequest::Commit { batch, sync } => {
            let key = |((table, key), value): (&(Table, Vec<u8>), &Option<Bytes>)| {
                let bytes = value.as_ref().map(Bytes::len);
                format!(" {table:?}/{:02x?}={bytes:?}", &key[key.len().saturating_sub(4)..])
            };
            format!("commit {sync:?}{}", batch.writes.iter().map(key).collect::<String>())
        }
        DiskRequest::Compare { pairs } => {
            let pair = |pair: &Pair| places(&[pair.mine, pair.theirs]);
            format!("compare{}", pairs.iter().map(pair).collect::<String>())
        }
        DiskRequest::Measure { slabs } => format!("measure {slabs:?}"),
        DiskRequest::Punch { segments } => format!("punch{}", places(segments)),
    }
}

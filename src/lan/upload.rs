//! A file on its way in: pieces of a body become writes to a file that nobody sees, which gets its name when all of it
//! is here. So a reader of the name sees the old file or the new one, and what is answered survives a power cut.

use bytes::{Bytes, BytesMut};

use super::api::ApiError;
use super::response::Response;
use crate::base::WallTime;
use crate::base::limits::CHUNK_PLAIN;
use crate::node::io::{Answer, Handle, Inode, Op, OpError, Reply};

/// See the module. Whoever drops it unfinished releases [`Upload::handle`].
#[derive(Debug)]
pub struct Upload {
    directory: Inode,
    name: Vec<u8>,
    no_replace: bool,
    /// The name is new.
    creates: bool,
    /// The time that it is to have, unless that is when it is written.
    mtime: Option<WallTime>,
    handle: Option<Handle>,
    /// Of the file without a name.
    inode: Inode,
    /// What came and is not written yet: less than a write's bytes, and at most one piece more.
    buffer: BytesMut,
    written: u64,
    state: State,
}

/// What the upload waits for.
#[derive(Clone, PartialEq, Debug)]
pub enum Want {
    /// Ask the node; answer by [`Upload::answered`].
    Ask(Op),
    /// The next piece of the body by [`Upload::piece`], or its end by [`Upload::end`].
    Body,
    /// Nothing: this is the answer.
    Done(Response),
}

#[derive(Clone, PartialEq, Debug)]
enum State {
    Opening,
    Taking { ended: bool },
    Dating,
    Linking,
    Releasing(Response),
    Done(Response),
}

impl Upload {
    /// For the file of this name in a directory; `creates` when the name is free now. With `no_replace` it is refused
    /// when the name is not free at the end.
    pub fn new(directory: Inode, name: &[u8], creates: bool, no_replace: bool) -> Self {
        Self {
            directory,
            name: name.to_vec(),
            no_replace,
            creates,
            mtime: None,
            handle: None,
            inode: Inode(0),
            buffer: BytesMut::new(),
            written: 0,
            state: State::Opening,
        }
    }

    /// The same for a file that is to have this time.
    pub fn with_mtime(mut self, mtime: WallTime) -> Self {
        self.mtime = Some(mtime);
        self
    }

    /// What it waits for now.
    pub fn want(&mut self) -> Want {
        match (&self.state, self.handle) {
            (State::Done(response), _) => Want::Done(response.clone()),
            (State::Opening, _) => Want::Ask(Op::Unnamed { directory: self.directory, mode: MODE }),
            (State::Taking { ended }, Some(handle)) => {
                let ended = *ended;
                if self.buffer.len() >= WRITE || (ended && !self.buffer.is_empty()) {
                    let data = self.buffer.split_to(self.buffer.len().min(WRITE)).freeze();
                    return Want::Ask(Op::Write { handle, offset: Some(self.written), data });
                }
                if !ended {
                    return Want::Body;
                }
                self.state = State::Dating;
                self.date(handle)
            }
            (State::Dating, Some(handle)) => self.date(handle),
            (State::Linking, Some(handle)) => self.link(handle),
            (State::Releasing(_), Some(handle)) => Want::Ask(Op::Release { handle }),
            (State::Taking { .. } | State::Dating | State::Linking | State::Releasing(_), None) => {
                unreachable!("these states have a handle")
            }
        }
    }

    /// The node's answer to what was asked.
    pub fn answered(&mut self, reply: Reply) {
        let state = std::mem::replace(&mut self.state, State::Opening);
        self.state = match (state, reply) {
            (State::Opening, Ok(Answer::Created(attr, handle))) => {
                self.handle = Some(handle);
                self.inode = attr.inode;
                State::Taking { ended: false }
            }
            (taking @ State::Taking { .. }, Ok(Answer::Written(bytes))) => {
                self.written += u64::from(bytes);
                taking
            }
            (State::Dating, Ok(Answer::Entry(_))) => State::Linking,
            (State::Linking, Ok(Answer::Done)) => State::Releasing(Response::new(if self.creates { 201 } else { 204 })),
            (State::Releasing(response), _) => {
                self.handle = None;
                State::Done(response)
            }
            (State::Linking, Err(OpError::Exists)) => self.ending(exists()),
            (_, Err(error)) => self.ending(error.into()),
            (_, Ok(_)) => self.ending(ApiError::new(500, "the node gave another answer than was asked for")),
        };
    }

    /// A piece of the body.
    pub fn piece(&mut self, piece: &Bytes) {
        if let State::Taking { ended: false } = self.state {
            self.buffer.extend_from_slice(piece);
        }
    }

    /// The body has ended well.
    pub fn end(&mut self) {
        if let State::Taking { ended } = &mut self.state {
            *ended = true;
        }
    }

    /// The body has not ended well: nothing of it stays.
    pub fn broken(&mut self, why: ApiError) {
        if let State::Taking { ended: false } = self.state {
            self.state = self.ending(why);
        }
    }

    /// The open file, while there is one.
    pub fn handle(&self) -> Option<Handle> {
        self.handle
    }

    /// The time is set last, since each write sets it as well.
    fn date(&mut self, handle: Handle) -> Want {
        match self.mtime {
            Some(_) => Want::Ask(Op::SetAttr { inode: self.inode, size: None, mode: None, mtime: self.mtime }),
            None => {
                self.state = State::Linking;
                self.link(handle)
            }
        }
    }

    fn link(&self, handle: Handle) -> Want {
        let (name, no_replace) = (self.name.clone(), self.no_replace);
        Want::Ask(Op::Link { handle, parent: self.directory, name, no_replace })
    }

    fn ending(&self, error: ApiError) -> State {
        match self.handle {
            Some(_) => State::Releasing(error.into()),
            None => State::Done(error.into()),
        }
    }
}

/// 412: the name is taken, and was to be free.
pub fn exists() -> ApiError {
    ApiError::new(412, "there is a file of that name already").with_remedy("choose another name, or replace it")
}

/// Bytes in a write: two chunks, which are sealed at once.
const WRITE: usize = 2 * CHUNK_PLAIN;
const MODE: u32 = 0o644;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::node::io::Attr;
    use crate::wire::record::Kind;

    const HANDLE: Handle = Handle(9);

    fn opened() -> Reply {
        let attr = Attr { inode: Inode(5), kind: Kind::File, size: 0, mode: MODE, mtime: WallTime(0), links: 0 };
        Ok(Answer::Created(attr, HANDLE))
    }

    fn started(creates: bool) -> Upload {
        let mut upload = Upload::new(Inode(2), b"a", creates, false);
        assert_eq!(upload.want(), Want::Ask(Op::Unnamed { directory: Inode(2), mode: MODE }));
        assert_eq!(upload.handle(), None);
        upload.answered(opened());
        upload
    }

    /// Plays the node, with `pieces` as the body; what the file has, and the answer.
    fn play(upload: &mut Upload, pieces: &[Vec<u8>]) -> (Vec<u8>, Response) {
        let mut pieces = pieces.iter();
        let (mut file, mut linked, mut steps) = (Vec::new(), false, 0);
        loop {
            steps += 1;
            assert!(steps < 10_000 && upload.buffer.len() < WRITE + 200_000);
            match upload.want() {
                Want::Body => match pieces.next() {
                    Some(piece) => upload.piece(&Bytes::from(piece.clone())),
                    None => upload.end(),
                },
                Want::Ask(Op::Write { handle: HANDLE, offset: Some(offset), data }) => {
                    assert_eq!(offset, file.len() as u64);
                    assert!(!data.is_empty() && data.len() <= WRITE && !linked);
                    file.extend_from_slice(&data);
                    upload.answered(Ok(Answer::Written(data.len() as u32)));
                }
                Want::Ask(Op::Link { handle: HANDLE, parent: Inode(2), .. }) => {
                    linked = true;
                    upload.answered(Ok(Answer::Done));
                }
                Want::Ask(Op::Release { handle: HANDLE }) => upload.answered(Ok(Answer::Done)),
                Want::Ask(other) => panic!("{other:?}"),
                Want::Done(response) => {
                    assert_eq!(upload.handle(), None);
                    assert_eq!(linked, response.status < 300);
                    return (file, response);
                }
            }
        }
    }

    #[test]
    fn a_file_is_taken_whole() {
        for (creates, status) in [(true, 201), (false, 204)] {
            let (file, response) = play(&mut started(creates), &[b"hello ".to_vec(), b"world".to_vec()]);
            assert_eq!((file.as_slice(), response.status), (&b"hello world"[..], status));
        }
        assert_eq!(play(&mut started(true), &[]).0, b"");
    }

    #[test]
    fn a_body_that_breaks_off_leaves_nothing() {
        let mut upload = started(true);
        assert_eq!(upload.want(), Want::Body);
        upload.piece(&Bytes::from_static(b"half"));
        upload.broken(ApiError::new(408, "late"));
        assert_eq!(upload.want(), Want::Ask(Op::Release { handle: HANDLE }));
        upload.answered(Ok(Answer::Done));
        assert!(matches!(upload.want(), Want::Done(response) if response.status == 408));
    }

    #[test]
    fn what_the_node_refuses_is_told() {
        let mut upload = Upload::new(Inode(2), b"a", true, false);
        upload.answered(Err(OpError::ReadOnly));
        assert!(matches!(upload.want(), Want::Done(response) if response.status == 403));

        let mut upload = started(true);
        upload.piece(&Bytes::from(vec![0; WRITE]));
        assert!(matches!(upload.want(), Want::Ask(Op::Write { .. })));
        upload.answered(Err(OpError::NoSpace));
        assert_eq!(upload.want(), Want::Ask(Op::Release { handle: HANDLE }));
        upload.answered(Err(OpError::BadHandle));
        assert!(matches!(upload.want(), Want::Done(response) if response.status == 507));

        let mut upload = started(true);
        upload.end();
        assert!(matches!(upload.want(), Want::Ask(Op::Link { .. })));
        upload.answered(Err(OpError::Exists));
        upload.answered(Ok(Answer::Done));
        assert!(matches!(upload.want(), Want::Done(response) if response.status == 412));
    }

    #[test]
    fn a_time_is_set_before_the_name() {
        let mut upload = Upload::new(Inode(2), b"a", true, false).with_mtime(WallTime(7));
        upload.answered(opened());
        upload.end();
        let set = Op::SetAttr { inode: Inode(5), size: None, mode: None, mtime: Some(WallTime(7)) };
        assert_eq!(upload.want(), Want::Ask(set));
        let Ok(Answer::Created(attr, _)) = opened() else { unreachable!("it is created") };
        upload.answered(Ok(Answer::Entry(attr)));
        assert!(matches!(upload.want(), Want::Ask(Op::Link { .. })));
    }

    proptest! {
        #[test]
        fn any_pieces_make_the_file(sizes in proptest::collection::vec(0usize..200_000, 0..8)) {
            let pieces: Vec<Vec<u8>> =
                sizes.iter().enumerate().map(|(at, size)| vec![at as u8; *size]).collect();
            let (file, response) = play(&mut started(true), &pieces);
            prop_assert_eq!(file, pieces.concat());
            prop_assert_eq!(response.status, 201);
        }
    }
}

//! Changes of the tree that take more than one operation: directories that are deleted, copied or moved with all that is
//! in them. What is still to do is a stack, whose length is bounded by the depth of directories.

use super::super::api::ApiError;
use super::super::response::Response;
use super::super::upload::Upload;
use super::View;
use crate::base::WallTime;
use crate::node::io::{Answer, Attr, Inode, Op, OpError, Reply};
use crate::wire::record::Kind;

/// See the module.
#[derive(Debug)]
pub struct Change {
    /// What is to do, the next last.
    tasks: Vec<Task>,
    /// What was asked of the node and not answered yet.
    asked: Option<Task>,
    answer: Response,
}

/// What the change waits for.
#[derive(Debug)]
pub enum Want {
    /// Ask the node; answer by [`Change::answered`].
    Ask(Op),
    /// Copy what a file holds, by this upload; then [`Change::copied`].
    Copy(Attr, Upload),
    /// Nothing: this is the answer.
    Done(Response),
}

/// A name in a directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Spot {
    /// The directory.
    pub directory: Inode,
    /// The name.
    pub name: Vec<u8>,
}

/// One thing to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Task {
    /// Delete what is there, with all that is in it.
    Remove(Spot),
    /// Move it there, in the place of a file.
    Rename(Spot, Spot),
    /// Move it there, where that is in another circle: copy it, and delete it here.
    Carry(Spot, Spot),
    /// Copy it there; a directory with all that is in it, or alone.
    Copy {
        /// What.
        from: Inode,
        /// Where to.
        to: Spot,
        /// With what is in it.
        deep: bool,
    },
    /// Copy what is in a directory, after this name.
    Members(Inode, Inode, Option<Vec<u8>>),
    /// Make a directory.
    Mkdir(Spot),
    /// Make an empty file.
    Empty(Spot),
    /// Set a file's time and permission bits.
    Set(Inode, Option<WallTime>, Option<u32>),
    /// Wait until what was done in a directory would survive a power cut.
    Sync(Inode),
}

impl Change {
    /// Does these, in order, and gives the answer if all went well.
    pub fn new(tasks: Vec<Task>, answer: Response) -> Self {
        Self { tasks: tasks.into_iter().rev().collect(), asked: None, answer }
    }

    /// What it waits for now.
    pub fn want(&mut self, view: &impl View) -> Want {
        loop {
            let Some(task) = self.tasks.pop() else { return Want::Done(self.answer.clone()) };
            match self.begin(&task, view) {
                Ok(Some(want)) => {
                    self.asked = Some(task);
                    return want;
                }
                Ok(None) => {}
                // Somebody else was faster.
                Err(OpError::NotFound) if matches!(task, Task::Remove(_)) => {}
                Err(error) => self.fail(error.into()),
            }
        }
    }

    /// Asks for the first step of a task; `None` when it has become others.
    fn begin(&mut self, task: &Task, view: &impl View) -> Result<Option<Want>, OpError> {
        let op = match task {
            Task::Remove(spot) => return self.remove(task, spot, view),
            Task::Rename(from, to) => {
                let (from, to) = (from.clone(), to.clone());
                Op::Rename {
                    parent: from.directory,
                    name: from.name,
                    new_parent: to.directory,
                    new_name: to.name,
                    no_replace: false,
                }
            }
            Task::Carry(from, to) => {
                let copied = view.lookup(from.directory, &from.name)?.inode;
                self.tasks.push(Task::Remove(from.clone()));
                self.tasks.push(Task::Copy { from: copied, to: to.clone(), deep: true });
                return Ok(None);
            }
            Task::Copy { from, to, .. } => {
                let attr = view.attr(*from)?;
                let (parent, name) = (to.directory, to.name.clone());
                match attr.kind {
                    Kind::File => {
                        let upload = Upload::new(to.directory, &to.name, true, false).with_mtime(attr.mtime);
                        return Ok(Some(Want::Copy(attr, upload)));
                    }
                    Kind::Directory => Op::Mkdir { parent, name, mode: attr.mode },
                    Kind::Symlink => Op::Symlink { parent, name, target: view.readlink(*from)?.to_vec() },
                }
            }
            Task::Members(from, to, after) => {
                let listed = view.list(*from, after.as_deref(), PAGE)?;
                if listed.len() == PAGE {
                    let last = listed.last().map(|entry| entry.name.clone());
                    self.tasks.push(Task::Members(*from, *to, last));
                }
                self.tasks.extend(listed.into_iter().map(|entry| {
                    let to = Spot { directory: *to, name: entry.name };
                    Task::Copy { from: entry.inode, to, deep: true }
                }));
                return Ok(None);
            }
            Task::Mkdir(spot) => Op::Mkdir { parent: spot.directory, name: spot.name.clone(), mode: 0o755 },
            Task::Empty(spot) => {
                let upload = Upload::new(spot.directory, &spot.name, true, true);
                let nothing =
                    Attr { inode: Inode(0), kind: Kind::File, size: 0, mode: 0o644, mtime: WallTime(0), links: 0 };
                return Ok(Some(Want::Copy(nothing, upload)));
            }
            Task::Set(inode, mtime, mode) => Op::SetAttr { inode: *inode, size: None, mode: *mode, mtime: *mtime },
            Task::Sync(inode) => Op::Fsync { inode: *inode },
        };
        Ok(Some(Want::Ask(op)))
    }

    fn remove(&mut self, task: &Task, spot: &Spot, view: &impl View) -> Result<Option<Want>, OpError> {
        let found = view.lookup(spot.directory, &spot.name)?;
        let (parent, name) = (spot.directory, spot.name.clone());
        if found.kind != Kind::Directory {
            return Ok(Some(Want::Ask(Op::Unlink { parent, name })));
        }
        let inside = view.list(found.inode, None, PAGE)?;
        if inside.is_empty() {
            return Ok(Some(Want::Ask(Op::Rmdir { parent, name })));
        }
        self.tasks.push(task.clone());
        self.tasks
            .extend(inside.into_iter().map(|entry| Task::Remove(Spot { directory: found.inode, name: entry.name })));
        Ok(None)
    }

    /// The node's answer to what was asked.
    pub fn answered(&mut self, reply: Reply) {
        match (self.asked.take(), reply) {
            (Some(Task::Rename(from, to)), Err(OpError::CrossCircle)) => {
                // What lies there is replaced by the copy, as a rename would have done.
                self.tasks.push(Task::Carry(from, to));
            }
            // Somebody else was faster.
            (Some(Task::Remove(_)), Err(OpError::NotFound)) => {}
            (_, Err(error)) => self.fail(error.into()),
            (Some(Task::Copy { from, deep: true, .. }), Ok(Answer::Entry(made))) if made.kind == Kind::Directory => {
                self.tasks.push(Task::Members(from, made.inode, None));
            }
            (_, Ok(_)) => {}
        }
    }

    /// What came of an upload.
    pub fn copied(&mut self, response: Response) {
        self.asked = None;
        if response.status >= 300 {
            self.tasks.clear();
            self.answer = response;
        }
    }

    /// Things that are still to do, as far as they are known.
    #[cfg(test)]
    pub fn left(&self) -> usize {
        self.tasks.len()
    }

    fn fail(&mut self, error: ApiError) {
        self.tasks.clear();
        self.answer = error.into();
    }
}

/// Entries that are looked at together.
const PAGE: usize = 16;

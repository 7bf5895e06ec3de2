//! Files and directories in memory, behind one lock: what `benchfs` does, in plain values.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::{Attr, Result};

const MAX_SIZE: u64 = 64 << 20;

struct Node {
    attr: Attr,
    data: Vec<u8>,
    opens: u32,
    entries: u64,
}

#[derive(Default)]
struct State {
    names: HashMap<u64, HashMap<Vec<u8>, u64>>,
    nodes: HashMap<u64, Node>,
    next: u64,
}

pub(crate) struct Scratch {
    state: Mutex<State>,
    root: u64,
}

impl Scratch {
    /// An empty directory `root`; new nodes are numbered from `first` on.
    pub(crate) fn new(first: u64, root: u64) -> Self {
        Self { state: Mutex::new(State { next: first, ..State::default() }), root }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn attr(&self, node: u64) -> Result<Attr> {
        Ok(self.state().node(node)?.attr)
    }

    pub(crate) fn find(&self, parent: u64, name: &[u8]) -> Result<u64> {
        self.state().find(parent, name)
    }

    pub(crate) fn set(&self, node: u64, mode: Option<u32>, size: Option<u64>) -> Result<()> {
        let mut state = self.state();
        let node = state.node(node)?;
        if let Some(mode) = mode {
            node.attr.mode = node.attr.mode & libc::S_IFMT | mode & 0o7777;
        }
        if let Some(size) = size {
            node.resize(size)?;
        }
        Ok(())
    }

    pub(crate) fn open(&self, node: u64) -> Result<()> {
        self.state().node(node)?.opens += 1;
        Ok(())
    }

    pub(crate) fn release(&self, node: u64) {
        let mut state = self.state();
        if let Ok(open) = state.node(node) {
            open.opens -= 1;
            if open.opens == 0 && open.attr.nlink == 0 {
                state.nodes.remove(&node);
            }
        }
    }

    pub(crate) fn read(&self, node: u64, offset: u64, size: usize) -> Result<Vec<u8>> {
        let mut state = self.state();
        let data = state.node(node)?.data.get(offset as usize..).unwrap_or_default();
        Ok(data[..data.len().min(size)].to_vec())
    }

    pub(crate) fn write(&self, node: u64, offset: u64, data: &[u8]) -> Result<()> {
        let mut state = self.state();
        let node = state.node(node)?;
        let end = offset + data.len() as u64;
        if end > node.attr.size {
            node.resize(end)?;
        }
        node.data[offset as usize..end as usize].copy_from_slice(data);
        Ok(())
    }

    pub(crate) fn make(&self, parent: u64, name: &[u8], mode: u32, opens: u32) -> Result<u64> {
        let mut state = self.state();
        if parent != self.root && !state.nodes.contains_key(&parent) {
            return Err(libc::EACCES);
        }
        if state.find(parent, name).is_ok() {
            return Err(libc::EEXIST);
        }
        let number = state.next;
        state.next += 1;
        let attr = Attr::new(number, mode);
        state.nodes.insert(number, Node { attr, data: Vec::new(), opens, entries: 0 });
        state.enter(parent, name, number);
        Ok(number)
    }

    pub(crate) fn unlink(&self, parent: u64, name: &[u8]) -> Result<()> {
        let mut state = self.state();
        let number = state.find(parent, name)?;
        if state.node(number)?.attr.is_dir() {
            return Err(libc::EISDIR);
        }
        state.remove(parent, name);
        state.drop_link(number);
        Ok(())
    }

    pub(crate) fn rmdir(&self, parent: u64, name: &[u8]) -> Result<()> {
        let mut state = self.state();
        let number = state.find(parent, name)?;
        let node = state.node(number)?;
        if !node.attr.is_dir() {
            return Err(libc::ENOTDIR);
        }
        if node.entries != 0 {
            return Err(libc::ENOTEMPTY);
        }
        state.remove(parent, name);
        state.drop_link(number);
        Ok(())
    }

    pub(crate) fn rename(&self, from: (u64, &[u8]), to: (u64, &[u8]), flags: u32) -> Result<()> {
        if flags & !libc::RENAME_NOREPLACE != 0 {
            return Err(libc::EINVAL);
        }
        let mut state = self.state();
        let number = state.find(from.0, from.1)?;
        if let Ok(old) = state.find(to.0, to.1) {
            if flags & libc::RENAME_NOREPLACE != 0 {
                return Err(libc::EEXIST);
            }
            if old == number {
                return Ok(());
            }
            if state.node(old)?.entries != 0 {
                return Err(libc::ENOTEMPTY);
            }
            state.remove(to.0, to.1);
            state.drop_link(old);
        }
        state.remove(from.0, from.1);
        state.enter(to.0, to.1, number);
        Ok(())
    }

    /// Entries behind a node, in order of their nodes.
    pub(crate) fn list(&self, dir: u64, after: u64) -> Vec<(u64, Vec<u8>)> {
        let state = self.state();
        let names = state.names.get(&dir).into_iter().flatten();
        let mut all: Vec<_> =
            names.filter(|(_, node)| **node > after).map(|(name, node)| (*node, name.clone())).collect();
        all.sort_unstable();
        all
    }
}

impl Node {
    fn resize(&mut self, size: u64) -> Result<()> {
        if size > MAX_SIZE {
            return Err(libc::EFBIG);
        }
        self.data.resize(size as usize, 0);
        self.attr.size = size;
        Ok(())
    }
}

impl State {
    fn node(&mut self, node: u64) -> Result<&mut Node> {
        self.nodes.get_mut(&node).ok_or(libc::ENOENT)
    }

    fn find(&self, parent: u64, name: &[u8]) -> Result<u64> {
        self.names.get(&parent).and_then(|names| names.get(name)).copied().ok_or(libc::ENOENT)
    }

    fn enter(&mut self, parent: u64, name: &[u8], node: u64) {
        self.names.entry(parent).or_default().insert(name.to_vec(), node);
        if let Some(parent) = self.nodes.get_mut(&parent) {
            parent.entries += 1;
        }
    }

    fn remove(&mut self, parent: u64, name: &[u8]) {
        if let Some(names) = self.names.get_mut(&parent) {
            names.remove(name);
        }
        if let Some(parent) = self.nodes.get_mut(&parent) {
            parent.entries -= 1;
        }
    }

    fn drop_link(&mut self, number: u64) {
        let Some(node) = self.nodes.get_mut(&number) else { return };
        node.attr.nlink = 0;
        if node.opens == 0 {
            self.nodes.remove(&number);
            self.names.remove(&number);
        }
    }
}

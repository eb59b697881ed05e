//! What lies on a device as well as on the host: inputs that several plans read are brought there once.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::buffer::Buffer;
use bireme_engine::device::{Buffer as Memory, Device};
use bireme_engine::error::Result;
use parking_lot::Mutex;

/// Copies by where the host's memory lies. They are let go when nobody else on the host has it any more, or when the device has no memory
/// left for something else.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    known: Mutex<BTreeMap<Address, Copied>>,
}

/// Where the host's memory begins, and its bytes.
type Address = (usize, usize);

#[derive(Debug)]
struct Copied {
    /// Held, so that no other memory has its address.
    host: Buffer,
    device: Arc<Memory>,
}

/// How many copies of this process hold each allocation, of whichever device: ranks of a process have parts of the same ones.
static HELD: Mutex<BTreeMap<usize, usize>> = Mutex::new(BTreeMap::new());

impl Copied {
    fn new(host: &Buffer, device: Arc<Memory>) -> Self {
        *HELD.lock().entry(allocation(host)).or_default() += 1;
        Self { host: host.clone(), device }
    }

    /// Whether nobody but copies holds what it is of.
    fn is_alone(&self, held: &BTreeMap<usize, usize>) -> bool {
        self.host.strong_count() <= held.get(&allocation(&self.host)).copied().unwrap_or(0)
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        let mut held = HELD.lock();
        let allocation = allocation(&self.host);
        if let Some(count) = held.get_mut(&allocation) {
            *count -= 1;
            if *count == 0 {
                held.remove(&allocation);
            }
        }
    }
}

impl Copies {
    /// The copy of a buffer; counts what is uploaded for it.
    ///
    /// # Errors
    /// The device fails, or has no memory for it.
    pub fn of(&self, device: &Device, data: &Buffer, uploaded: &Cell<u64>) -> Result<Arc<Memory>> {
        if let Some(copied) = self.known.lock().get(&address(data)) {
            return Ok(Arc::clone(&copied.device));
        }
        let memory = Arc::new(device.upload(data.as_slice())?);
        uploaded.set(uploaded.get() + data.len() as u64);
        self.keep(data, Arc::clone(&memory));
        Ok(memory)
    }

    /// Remembers that the device has what is in a buffer.
    pub fn keep(&self, data: &Buffer, memory: Arc<Memory>) {
        // Nothing has an address of its own.
        if !data.is_empty() {
            self.known.lock().insert(address(data), Copied::new(data, memory));
        }
    }

    /// Lets go of copies of what nobody else on the host holds.
    pub fn forget(&self) {
        // Those that are let go are dropped when the count of all is not locked any more.
        let mut known = self.known.lock();
        let alone = {
            let held = HELD.lock();
            let alone = known.iter().filter(|(_, copied)| copied.is_alone(&held));
            alone.map(|(address, _)| *address).collect::<Vec<_>>()
        };
        alone.iter().for_each(|address| drop(known.remove(address)));
    }

    /// Lets go of all copies; says whether there were some.
    pub fn clear(&self) -> bool {
        !std::mem::take(&mut *self.known.lock()).is_empty()
    }
}

fn allocation(host: &Buffer) -> usize {
    host.data_ptr().as_ptr() as usize
}

fn address(data: &Buffer) -> Address {
    (data.as_ptr() as usize, data.len())
}

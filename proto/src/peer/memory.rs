//! Keys and secrets are in the memory of these programs: it is nobody else's.

use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// From now on no core dump of this process is written, nor of what it starts, and only root reads its memory.
///
/// # Errors
/// When the kernel does not do it; the program can run on.
pub fn keep_memory_to_itself() -> Result<(), Errno> {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let limited = setrlimit(Resource::Core, none);
    set_dumpable_behavior(DumpableBehavior::NotDumpable).and(limited)
}

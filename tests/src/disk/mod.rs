//! A disk that loses what was not synced when its power goes, and that fails, lies, hangs or fills up when it is told to.
//!
//! Mounted for real, so that the programs under test are the ones that are shipped. Needs root and `/dev/fuse`.

mod filesystem;
mod inodes;

pub use filesystem::Fault;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use filesystem::{Medium, Mounted, held};
use inodes::Inodes;

/// What survives a cut of what was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survivors {
    /// Nothing.
    None,
    /// Everything: as after a kill.
    All,
    /// Half of it, block by block, drawn from this seed.
    Half(u64),
}

/// What was on a disk once.
#[derive(Debug)]
pub struct Image(Inodes);

/// A mounted disk; gone with its content when it is dropped.
#[derive(Debug)]
pub struct Disk {
    at: PathBuf,
    medium: Arc<Mutex<Medium>>,
    session: Option<fuser::BackgroundSession>,
}

// === impl Disk ===

impl Disk {
    /// An empty one, in this directory.
    pub fn mounted(at: &Path) -> Disk {
        std::fs::create_dir_all(at).expect("a directory");
        let medium = Arc::<Mutex<Medium>>::default();
        let mut config = fuser::Config::default();
        config.mount_options = vec![fuser::MountOption::FSName("wherry-test".into()), fuser::MountOption::NoSuid];
        let session = fuser::spawn_mount(Mounted(medium.clone()), at, &config).expect("root, and /dev/fuse");
        Disk { at: at.to_owned(), medium, session: Some(session) }
    }

    /// From now on.
    pub fn set_fault(&self, fault: Fault) {
        held(&self.medium).set_fault(fault);
    }

    /// How many bytes fit, from now on: as many as there are, and these.
    pub fn leave_free(&self, bytes: u64) {
        let mut medium = held(&self.medium);
        let used = medium.inodes.used();
        medium.inodes.limit(Some(used + bytes));
    }

    /// As much fits as anybody wants.
    pub fn leave_all_free(&self) {
        held(&self.medium).inodes.limit(None);
    }

    /// The power goes; every call fails until it comes back.
    pub fn cut(&self) {
        self.set_fault(Fault::Off);
    }

    /// The power comes back, to a disk that nobody has open any more.
    pub fn power_on(&self, survivors: Survivors) {
        let medium = &mut *held(&self.medium);
        let mut state = match survivors {
            Survivors::Half(seed) => seed,
            _ => 0,
        };
        medium.forgotten += medium.inodes.cut(&mut || match survivors {
            Survivors::None => false,
            Survivors::All => true,
            Survivors::Half(_) => {
                // SplitMix64: the same seed, the same disk.
                state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                (mixed ^ (mixed >> 31)) & 1 == 1
            }
        });
        medium.set_fault(Fault::None);
    }

    /// All that is on it.
    pub fn image(&self) -> Image {
        Image(held(&self.medium).inodes.clone())
    }

    /// Puts all back as it was, while nobody has anything open.
    pub fn put_back(&self, image: &Image) {
        held(&self.medium).inodes = image.0.clone();
    }

    /// Changes one bit of a file.
    pub fn flip(&self, path: &Path, bit: u64) {
        let mut medium = held(&self.medium);
        let inode = self.find(&medium, path).inode;
        medium.inodes.flip(inode, bit).expect("a file");
    }

    fn find(&self, medium: &Medium, path: &Path) -> inodes::Shown {
        let inside = path.strip_prefix(&self.at).expect("a path on this disk");
        let root = medium.inodes.shown(inodes::ROOT).expect("the root");
        inside.iter().fold(root, |dir, name| medium.inodes.lookup(dir.inode, name).expect("a file"))
    }

    /// How many syncs were asked for.
    pub fn syncs(&self) -> u64 {
        held(&self.medium).syncs
    }

    /// How many calls were refused, delayed, or answered with a lie.
    pub fn struck(&self) -> u64 {
        held(&self.medium).struck
    }

    /// How many blocks, lengths and directories the cuts took back.
    pub fn forgotten(&self) -> u64 {
        held(&self.medium).forgotten
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.at
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.set_fault(Fault::None);
        if let Some(session) = self.session.take() {
            let _ = session.umount_and_join();
        }
    }
}

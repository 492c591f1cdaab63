//! Which key seals what: questions to State about the sealing key.

use proto::id::ServerId;

use super::State;
use crate::engine::model::{RotationPhase, SealedPart, Sealing};

// === impl State ===

impl State {
    /// What is known of the sealing key.
    pub fn sealing(&self) -> &Sealing {
        &self.sealing
    }

    /// Id of the key that is to be sealed with. `None`: nothing is sealed yet, a server has one key only.
    pub fn key_in_use(&self) -> Option<&str> {
        match &self.sealing.rotation {
            Some(rotation) if rotation.phase == RotationPhase::Resealing => Some(&rotation.to),
            _ => self.authority.as_ref()?.key.key_id(),
        }
    }

    /// What is sealed with a key, beside the digest key: the authority, then secrets in order of digest.
    pub fn sealed_with<'a>(&'a self, key: &'a str) -> impl Iterator<Item = SealedPart> + 'a {
        let authority = self.authority.iter().filter(move |authority| authority.key.key_id() == Some(key));
        let blobs = self.blobs.values().filter(move |blob| blob.content.key_id() == Some(key));
        authority.map(|_| SealedPart::Authority).chain(blobs.map(|blob| SealedPart::Blob(blob.digest.clone())))
    }

    /// The servers that have not said that they have a key.
    pub fn lacking<'a>(&'a self, key: &'a str) -> impl Iterator<Item = ServerId> + 'a {
        self.servers.values().filter(move |server| !server.info.has_key(key)).map(|server| server.info.id)
    }

    /// The servers that said that they have a key, and not that they gave it up.
    pub fn holding<'a>(&'a self, key: &'a str) -> impl Iterator<Item = ServerId> + 'a {
        self.servers.values().filter(move |server| server.info.has_key(key)).map(|server| server.info.id)
    }

    /// How many things are sealed.
    pub fn sealed_count(&self) -> usize {
        let blobs = self.blobs.values().filter(|blob| blob.content.key_id().is_some()).count();
        blobs + usize::from(self.authority.is_some())
    }
}

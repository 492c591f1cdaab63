//! Content of configs and secrets: sealed before it is proposed.

use proto::convert::enumerated;
use proto::limits::BLOB_MAX_BYTES;
use proto::spec::BlobKind;
use proto::v1;
use tonic::{Code, Status};
use zeroize::Zeroizing;

use super::{Api, refusal};
use crate::access::By;
use crate::engine::reconcile::BLOB_KEPT_MS;
use crate::engine::{Command, State};
use crate::pki::seal::SealError;

/// This server lacks a key that the cluster uses; it is fetched meanwhile.
fn unsealed(error: &SealError) -> Status {
    Status::unavailable(error.to_string())
}

// === impl Api ===

impl Api {
    /// Stores content that is not there yet, or that would be reaped before it is named.
    pub(super) async fn store_blob(&self, by: By, request: v1::PutBlobRequest) -> Result<v1::PutBlobResponse, Status> {
        let kind: BlobKind = enumerated("kind", request.kind).map_err(|e| Status::invalid_argument(e.to_string()))?;
        let content = Zeroizing::new(request.content);
        if content.len() > BLOB_MAX_BYTES {
            let message = format!("{} bytes, at most {BLOB_MAX_BYTES} are allowed", content.len());
            return Err(refusal::wrong_field("content", &message, "keep large files in a volume or in the image"));
        }
        let digest = self.sealer.digest(&self.present(), kind, &content).map_err(|e| unsealed(&e))?;
        if request.digest_only {
            return Ok(v1::PutBlobResponse { digest: digest.0 });
        }
        let state = self.present();
        let now = self.raft.now().unwrap_or(state.clock());
        let known = state.blob(&digest).is_some_and(|b| now.since_ms(b.put_at) < BLOB_KEPT_MS / 2);
        if !known {
            let seal = |state: &State| {
                let content = self.sealer.seal(state.key_in_use(), kind, &digest, &content);
                Ok::<_, Status>(Command::PutBlob {
                    digest: digest.clone(),
                    kind,
                    content: content.map_err(|e| unsealed(&e))?,
                })
            };
            match self.change(by.clone(), request.request, seal(&state)?).await {
                // The key was replaced between the sealing and the log. The same request would be answered with the same.
                Err(status) if status.code() == Code::Aborted => {
                    self.change(by, None, seal(&self.present())?).await?;
                }
                put => drop(put?),
            }
        }
        Ok(v1::PutBlobResponse { digest: digest.0 })
    }
}

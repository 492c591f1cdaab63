//! Messages that carry keys, as they are shown where something is debugged: without them.

use crate::v1::{EnrolResponse, FetchSealingKeyResponse};
use std::fmt::{Debug, Formatter, Result};

impl Debug for EnrolResponse {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.debug_struct("EnrolResponse").field("subject", &self.subject).finish_non_exhaustive()
    }
}

impl Debug for FetchSealingKeyResponse {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.debug_struct("FetchSealingKeyResponse").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_is_shown() {
        let key = vec![173_u8; 32];
        let enrolled = EnrolResponse {
            subject: "server/1".to_owned(),
            sealing_key: key.clone(),
            more_sealing_keys: vec![key.clone()],
            ..EnrolResponse::default()
        };
        let shown = format!("{enrolled:?} {:?}", FetchSealingKeyResponse { key });
        assert!(shown.contains("server/1") && !shown.contains("173"), "{shown}");
    }
}

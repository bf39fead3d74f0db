//! The joiner's side of an invite.

use bytes::Bytes;
use hmac::Mac;

use super::message::{Answer, InviteId, Join, inviter_proof, joiner_proof, signed_by_joiner};
use super::{InviteText, PairError, Welcome};
use crate::wire::statement::Device;

/// Waits for the answer to the message that [`Joiner::new`] made.
#[derive(Debug)]
pub struct Joiner {
    invite: InviteText,
    exporter: [u8; 32],
}

impl Joiner {
    /// Joins over the connection with this exporter; `sign` signs with the device's member key. The message goes out as
    /// a frame on channel 0.
    pub fn new(
        invite: InviteText,
        device: Device,
        exporter: [u8; 32],
        sign: impl FnOnce(&[u8]) -> [u8; 64],
    ) -> (Self, Bytes) {
        let join = Join {
            invite: InviteId::of(&invite.secret),
            proof: joiner_proof(&invite.secret, &exporter, &device).finalize().into_bytes().into(),
            signature: sign(&signed_by_joiner(&exporter, &device.transport)),
            device,
        };
        (Self { invite, exporter }, join.encode())
    }

    /// Takes the answer. Nothing of it is believed before the inviter's proof is right; what the welcome holds is then
    /// for the caller to verify.
    pub fn message(self, payload: &[u8]) -> Result<Welcome, PairError> {
        match Answer::decode(payload)? {
            Answer::Refused(refusal) => Err(PairError::Refused(refusal)),
            Answer::Welcome { proof, welcome } => {
                inviter_proof(&self.invite.secret, &self.exporter, &welcome)
                    .verify_slice(&proof)
                    .map_err(|_| PairError::Impostor)?;
                Ok(Welcome::decode(&welcome)?)
            }
        }
    }
}

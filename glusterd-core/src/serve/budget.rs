//! How many bytes all connections together may hold.
//!
//! A connection holds its first [`FREE_BYTES`] for nothing, so that ordinary calls always get
//! through; what is above comes out of one purse. Reading never waits for the purse (the connection
//! that asks for more than there is gets closed), writing waits until others have been written.

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What a connection may hold in each direction without being charged.
pub const FREE_BYTES: usize = 16 << 10;

/// The purse counts in these.
const UNIT_BYTES: usize = 1 << 10;

/// The purse is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("all connections together hold too many bytes")]
pub struct Exhausted;

/// The purse. Clones share it.
#[derive(Debug, Clone)]
pub struct Budget {
    units: Arc<Semaphore>,
    total: u32,
}

/// What is held; gives it back when dropped.
#[derive(Debug, Default)]
pub struct Charge(Option<OwnedSemaphorePermit>);

impl Budget {
    pub fn new(bytes: usize) -> Budget {
        let total = u32::try_from(bytes / UNIT_BYTES).unwrap_or(u32::MAX);
        Budget { units: Arc::new(Semaphore::new(total as usize)), total }
    }

    /// Makes `charge` cover at least `bytes`, if the purse allows.
    pub fn raise(&self, charge: &mut Charge, bytes: usize) -> Result<(), Exhausted> {
        let missing = units(bytes).saturating_sub(charge.units());
        if missing == 0 {
            return Ok(());
        }
        let more = self.units.clone().try_acquire_many_owned(missing).map_err(|_| Exhausted)?;
        match &mut charge.0 {
            Some(held) => held.merge(more),
            None => charge.0 = Some(more),
        }
        Ok(())
    }

    /// Waits for `bytes`; more than there is in all counts as all there is.
    pub async fn wait(&self, bytes: usize) -> Charge {
        match units(bytes).min(self.total) {
            0 => Charge::default(),
            units => Charge(self.units.clone().acquire_many_owned(units).await.ok()),
        }
    }
}

impl Charge {
    /// Splits off what covers `bytes`, as far as it is covered.
    pub fn split(&mut self, bytes: usize) -> Charge {
        let wanted = units(bytes).min(self.units()) as usize;
        Charge(self.0.as_mut().and_then(|held| held.split(wanted)))
    }

    /// Gives back what is not needed for `bytes`.
    pub fn lower(&mut self, bytes: usize) {
        let surplus = self.units().saturating_sub(units(bytes)) as usize;
        if let Some(held) = &mut self.0 {
            drop(held.split(surplus));
        }
    }

    fn units(&self) -> u32 {
        self.0.as_ref().map_or(0, |held| held.num_permits() as u32)
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.saturating_sub(FREE_BYTES).div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charges_go_up_split_and_come_back() {
        let budget = Budget::new(100 * UNIT_BYTES);
        let left = || budget.units.available_permits();
        let mut charge = Charge::default();
        budget.raise(&mut charge, FREE_BYTES).unwrap();
        assert_eq!(left(), 100);
        budget.raise(&mut charge, FREE_BYTES + 60 * UNIT_BYTES).unwrap();
        assert_eq!(left(), 40);
        let call = charge.split(FREE_BYTES + 50 * UNIT_BYTES);
        charge.lower(FREE_BYTES + 4 * UNIT_BYTES);
        assert_eq!(left(), 46);
        assert_eq!(
            budget.raise(&mut Charge::default(), FREE_BYTES + 47 * UNIT_BYTES),
            Err(Exhausted)
        );
        drop((call, charge));
        assert_eq!(left(), 100);
    }

    #[tokio::test]
    async fn more_than_all_waits_for_all() {
        let budget = Budget::new(10 * UNIT_BYTES);
        let all = budget.wait(FREE_BYTES + 1000 * UNIT_BYTES).await;
        let small = budget.wait(FREE_BYTES).await;
        assert_eq!((all.units(), small.units()), (10, 0));
        let waiting = tokio::spawn({
            let budget = budget.clone();
            async move { budget.wait(FREE_BYTES + UNIT_BYTES).await.units() }
        });
        drop(all);
        assert_eq!(waiting.await.unwrap(), 1);
    }
}

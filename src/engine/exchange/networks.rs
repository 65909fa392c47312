//! One network with two engines: the first, which is always there, and the second, which may come
//! and go.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::board::{Board, Seat, Standing, lock};
use crate::engine::sampling::Sampling;
use crate::engine::{Engine, EngineError, Signature, StreamingLifter, TensorMut, TensorRef};
use crate::pose::Computed;

/// Where a built engine waits to be taken over.
///
/// It holds one at most: there is one order for each place, and the flag, looked at before every
/// frame, spares the lock while nothing is there.
pub(super) struct Place<T: ?Sized> {
    waiting: AtomicBool,
    engine: Mutex<Option<Box<T>>>,
}

impl<T: ?Sized> Place<T> {
    pub(super) fn put(&self, engine: Box<T>) {
        *lock(&self.engine) = Some(engine);
        self.waiting.store(true, Ordering::Release);
    }

    fn take(&self) -> Option<Box<T>> {
        if !self.waiting.swap(false, Ordering::Acquire) {
            return None;
        }
        lock(&self.engine).take()
    }
}

/// A network with two engines.
pub(super) struct Twofold<T: ?Sized> {
    first: Box<T>,
    second: Option<Box<T>>,
    place: Arc<Place<T>>,
    seat: Arc<Seat>,
    board: Arc<Board>,
}

impl<T: ?Sized> Twofold<T> {
    pub(super) fn new(first: Box<T>, seat: Arc<Seat>, board: Arc<Board>) -> (Self, Arc<Place<T>>) {
        let place = Arc::new(Place { waiting: AtomicBool::new(false), engine: Mutex::new(None) });
        (Self { first, second: None, place: place.clone(), seat, board }, place)
    }

    /// Takes the second engine over, or leaves it because it hangs. True if another one computes
    /// from here on.
    fn take_over(&mut self) -> bool {
        if self.board.is_hung() {
            // Their memory is still written to, and freeing it would wait for whoever hangs.
            std::mem::forget(self.place.take());
            let Some(second) = self.second.take() else { return false };
            std::mem::forget(second);
            self.board.note(&self.seat, Standing::Stays);
            return true;
        }
        let Some(second) = self.place.take() else { return false };
        self.second = Some(second);
        self.board.exchanged(&self.seat);
        true
    }

    /// The second engine is of no use any more.
    fn give_up(&mut self, error: &EngineError) {
        let second = self.second.take();
        if matches!(error, EngineError::Hung { .. }) {
            std::mem::forget(second);
        }
        self.board.lost(&self.seat, error);
    }
}

impl Engine for Twofold<dyn Engine> {
    fn signature(&self) -> &Signature {
        self.first.signature()
    }

    fn run(
        &mut self,
        inputs: &[TensorRef<'_>],
        outputs: &mut [TensorMut<'_>],
    ) -> Result<(), EngineError> {
        if let Some(second) = &mut self.second {
            match second.run(inputs, outputs) {
                Ok(()) => return Ok(()),
                Err(error) => self.give_up(&error),
            }
        }
        self.first.run(inputs, outputs)
    }

    /// The second engine's; if it fails, the first one has its turn when it is given the tensor.
    fn run_sampled(
        &mut self,
        sampling: &Sampling<'_>,
        outputs: &mut [TensorMut<'_>],
    ) -> Result<bool, EngineError> {
        let Some(second) = &mut self.second else {
            return self.first.run_sampled(sampling, outputs);
        };
        second.run_sampled(sampling, outputs).or_else(|error| {
            self.give_up(&error);
            Ok(false)
        })
    }

    fn exchange(&mut self) -> bool {
        self.take_over()
    }
}

/// A lifter with two engines, each of which keeps slots of its own form: so a failed one is not
/// replaced within a call, but by [`StreamingLifter::exchange`], after which slots are encoded
/// anew.
pub(super) struct TwofoldLifter {
    pair: Twofold<dyn StreamingLifter>,
    /// The second engine's last call; it is not called again.
    failed: Option<EngineError>,
}

impl TwofoldLifter {
    pub(super) fn new(pair: Twofold<dyn StreamingLifter>) -> Self {
        Self { pair, failed: None }
    }

    fn present(&self) -> &dyn StreamingLifter {
        self.pair.second.as_deref().unwrap_or(&*self.pair.first)
    }

    fn call(
        &mut self,
        call: impl FnOnce(&mut dyn StreamingLifter) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        if self.failed.is_some() {
            return Err(self.run_error("an earlier call has failed".to_owned()));
        }
        let Some(second) = &mut self.pair.second else { return call(&mut *self.pair.first) };
        call(&mut **second).map_err(|error| self.fail(error))
    }

    /// Keeps why the second engine has failed, and gives it in words.
    fn fail(&mut self, error: EngineError) -> EngineError {
        let words = self.run_error(error.to_string());
        self.failed = Some(error);
        words
    }

    fn run_error(&self, problem: String) -> EngineError {
        EngineError::Run { model: self.pair.seat.model.clone(), problem }
    }
}

impl StreamingLifter for TwofoldLifter {
    fn slot_len(&self) -> usize {
        self.present().slot_len()
    }

    fn encode(
        &mut self,
        keypoints: &[f32],
        fresh: &[f32],
        slots: &mut [f32],
    ) -> Result<(), EngineError> {
        self.call(|lifter| lifter.encode(keypoints, fresh, slots))
    }

    fn lift(
        &mut self,
        slots: &[f32],
        context: &[f32],
        joints: &mut [f32],
    ) -> Result<(), EngineError> {
        self.call(|lifter| lifter.lift(slots, context, joints))?;
        if self.pair.second.is_some() && !joints.iter().all(|v| v.is_finite()) {
            let error = self.run_error("it answered with what is not a number".to_owned());
            return Err(self.fail(error));
        }
        Ok(())
    }

    fn describe(&self) -> String {
        self.present().describe()
    }

    fn exchange(&mut self) -> bool {
        if let Some(error) = self.failed.take() {
            self.pair.give_up(&error);
            return true;
        }
        self.pair.take_over()
    }

    fn computed(&self) -> Option<Computed> {
        Some(self.pair.seat.by(self.pair.second.is_some()))
    }
}

//! One backend now, a faster one as soon as its engines are built; and back, should they fail.
//!
//! An [`Exchange`] is a [`Backend`]. What it loads is computed by the present backend (tract on the
//! CPU) at once, and an order goes out to have the same network built by the later one (TensorRT).
//! [`Exchange::work`], on a thread of the runtime's, carries orders out one after the other: it
//! builds, and holds what was built against its budget (a lifter by its golden windows, a network
//! that sees pictures by the present backend's answers). What passes waits until it is taken over
//! between two frames ([`Engine::exchange`], [`StreamingLifter::exchange`]).
//!
//! The first engine stays loaded behind the second one. When a call of the second one fails, the
//! first one computes that very call: no frame is lost. It is for good, as far as these loaded
//! networks go: CUDA gives the error of a failed context to every later call of the process. When
//! one hangs, all others leave the same backend before their next frame, for each of them would be
//! waited for as long, and nothing is built there any more.

mod board;
mod networks;
mod verified;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};

use super::gate::{self, Budget};
use super::spec::Normalisation;
use super::{Backend, Engine, EngineError, ModelSpec, Precision, StreamingLifter};
use crate::fault::panic_words;
use crate::handoff::Stop;
use crate::pose::Computed;
pub use board::Trouble;
use board::{Board, Seat, Standing};
use networks::{Place, Twofold, TwofoldLifter};
pub use verified::{Judge, Verified};

/// How soon the end of the run is seen while nothing is ordered.
const TURN: Duration = Duration::from_millis(100);

/// One backend now, another one later. Clones are the same one.
#[derive(Clone)]
pub struct Exchange(Arc<Inner>);

struct Inner {
    now: &'static dyn Backend,
    later: Box<dyn Backend + Send + Sync>,
    judge: Judge,
    stop: Stop,
    orders: (Sender<Order>, Receiver<Order>),
    /// Whether there is anything of the later backend, once somebody has looked.
    usable: OnceLock<bool>,
    board: Arc<Board>,
}

/// A network to be built.
struct Order {
    model: ModelSpec,
    precision: Precision,
    seat: Arc<Seat>,
    /// Where it is waited for; nobody waits any more for what belongs to a pipeline that is gone.
    place: Wanted,
}

enum Wanted {
    Engine(usize, Weak<Place<dyn Engine>>),
    Lifter(usize, Weak<Place<dyn StreamingLifter>>),
}

impl Exchange {
    /// `now` computes until `later` can, which is held against it by `judge`. When `stop` is
    /// raised, nothing more is built; a backend that can end a build early should see it, too.
    pub fn new(
        now: &'static dyn Backend,
        later: Box<dyn Backend + Send + Sync>,
        judge: Judge,
        stop: Stop,
    ) -> Self {
        let (orders, usable, board) = (unbounded(), OnceLock::new(), Arc::default());
        Self(Arc::new(Inner { now, later, judge, stop, orders, usable, board }))
    }

    /// Carries out orders until the end. For a thread that has the time: a build takes minutes.
    pub fn work(&self) {
        let Inner { stop, orders, .. } = &*self.0;
        while !stop.is_raised() {
            match orders.1.recv_timeout(TURN) {
                Ok(order) => self.0.serve(&order),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Nothing more is to be built.
    pub fn stop(&self) {
        self.0.stop.raise();
    }

    /// How often something changed that [`describe`](Self::describe) or
    /// [`troubles`](Self::troubles) tell.
    pub fn changes(&self) -> u64 {
        self.0.board.changes()
    }

    /// What is wrong with the later backend: one of each name.
    pub fn troubles(&self) -> Vec<Trouble> {
        self.0.board.troubles()
    }

    /// What computes which networks, in words.
    pub fn describe(&self) -> String {
        self.0.board.describe(self.0.now.name())
    }
}

impl Inner {
    /// It may open libraries that nothing else needs: not before somebody wants something.
    fn is_usable(&self) -> bool {
        *self.usable.get_or_init(|| {
            let checked = self.later.check();
            if let Err(e) = &checked {
                log::info!("{} goes on computing: {e}", self.now.name());
            }
            checked.is_ok()
        })
    }

    fn serve(&self, order: &Order) {
        if self.board.is_hung() || !self.is_usable() {
            return self.board.note(&order.seat, Standing::Stays);
        }
        let carried_out = catch_unwind(AssertUnwindSafe(|| self.carry_out(order)));
        let carried_out = carried_out.unwrap_or_else(|panic| {
            let words = panic_words(&*panic);
            Err(order.model.problem(format!("building it panicked: {words}")))
        });
        match carried_out {
            Err(_) if self.stop.is_raised() => log::debug!("{}: not built", order.model.name),
            // Whoever computes there already is to leave, too.
            Err(e @ EngineError::Hung { .. }) => self.board.lost(&order.seat, &e),
            Err(e) => self.board.refused(&order.seat, &e),
            Ok(()) => {}
        }
    }

    fn carry_out(&self, order: &Order) -> Result<(), EngineError> {
        let Order { model, precision, seat, place } = order;
        let later = &*self.later;
        let begun = Instant::now();
        let loaded = || {
            let precision = later.precision(model, *precision).name();
            let by = *seat.second.get_or_init(|| Computed { backend: later.name(), precision });
            let seconds = begun.elapsed().as_secs_f64();
            log::debug!("{}: ready on {by} after {seconds:.1} s", model.name);
        };
        // Whoever waits for it may be gone by the time that it is built.
        match place {
            Wanted::Engine(batch, place) if place.strong_count() > 0 => {
                let (now, judge) = (self.now, &self.judge);
                let engine = Verified { backend: later, reference: now, judge };
                let engine = engine.load(model, *precision, *batch)?;
                loaded();
                if let Some(place) = place.upgrade() {
                    place.put(engine);
                }
            }
            Wanted::Lifter(persons, place) if place.strong_count() > 0 => {
                let lifter = self.lifter(model, *precision, *persons)?;
                loaded();
                if let Some(place) = place.upgrade() {
                    place.put(lifter);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn lifter(
        &self,
        model: &ModelSpec,
        precision: Precision,
        persons: usize,
    ) -> Result<Box<dyn StreamingLifter>, EngineError> {
        let (lifter, verdict) = gate::load_lifter(&*self.later, model, precision, persons)?;
        match verdict {
            Some(verdict) if verdict.passed() => Ok(lifter),
            Some(verdict) => Err(verified::refusal(model, self.later.name(), &verdict)),
            None => Err(model
                .problem("it has no golden windows: nothing tells whether it is computed rightly")),
        }
    }

    fn seat(&self, model: &ModelSpec) -> Arc<Seat> {
        let first = Computed { backend: self.now.name(), precision: Precision::F32.name() };
        self.board.seat(&model.name, first, self.later.name())
    }

    fn order(&self, model: &ModelSpec, precision: Precision, seat: &Arc<Seat>, place: Wanted) {
        let order = Order { model: model.clone(), precision, seat: seat.clone(), place };
        // The receiver lives as long as this.
        let _ = self.orders.0.send(order);
    }
}

/// `precision` is that of the later backend; the present one computes in `f32`.
impl Backend for Exchange {
    fn name(&self) -> &'static str {
        self.0.now.name()
    }

    fn check(&self) -> Result<(), EngineError> {
        self.0.now.check()
    }

    fn load(
        &self,
        model: &ModelSpec,
        precision: Precision,
        batch: usize,
    ) -> Result<Box<dyn Engine>, EngineError> {
        let first = self.0.now.load(model, Precision::F32, batch)?;
        if !model.kind().sees_pictures() {
            // A reference lifter's, which nothing here can judge.
            return Ok(first);
        }
        let seat = self.0.seat(model);
        let (twofold, place) = Twofold::new(first, seat.clone(), self.0.board.clone());
        self.0.order(model, precision, &seat, Wanted::Engine(batch, Arc::downgrade(&place)));
        Ok(Box::new(twofold))
    }

    /// Of the network as it is loaded: what comes later is held against its own.
    fn budget(&self, model: &ModelSpec, _: Precision) -> Result<Budget, EngineError> {
        self.0.now.budget(model, Precision::F32)
    }

    fn load_lifter(
        &self,
        model: &ModelSpec,
        precision: Precision,
        persons: usize,
    ) -> Result<Box<dyn StreamingLifter>, EngineError> {
        let first = self.0.now.load_lifter(model, Precision::F32, persons)?;
        if model.lifter()?.normalisation == Normalisation::Screen {
            return Ok(first);
        }
        let seat = self.0.seat(model);
        let (twofold, place) = Twofold::new(first, seat.clone(), self.0.board.clone());
        self.0.order(model, precision, &seat, Wanted::Lifter(persons, Arc::downgrade(&place)));
        Ok(Box::new(TwofoldLifter::new(twofold)))
    }
}

#[cfg(test)]
mod tests;

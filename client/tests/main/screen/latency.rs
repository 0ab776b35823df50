//! How soon a plan that is held is on the screen.

use std::time::{Duration, Instant};

use super::*;

/// The promise is 100 ms; a machine that does other things at the same time is given more here.
const MOST: Duration = Duration::from_millis(1000);

#[test]
fn a_held_plan_is_on_the_screen_at_once() {
    let daemon = Daemon::start(ASKS, "[confirmation]\nmax_pending = 64");
    let tmux = open(&daemon, (120, 40));
    tmux.until_it_says("nothing waits");
    let mut times = Vec::new();
    for number in 1..=20 {
        let expected = if number == 1 { "1 plan waits".to_owned() } else { format!("{number} plans wait") };
        hold(&daemon, &plan(&format!("r-{number}"), &[run(&["/bin/echo"], "greet")]));
        // From the answer that says it is held; the capture by tmux counts too.
        let start = Instant::now();
        tmux.until_it_says(&expected);
        times.push(start.elapsed());
    }
    times.sort();
    println!("held -> on the screen: p50 {:?}, p95 {:?}, of {}", times[9], times[18], times.len());
    assert!(times[18] < MOST, "{times:?}");
}

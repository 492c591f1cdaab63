//! Tasks prepared ahead, and tasks drained: the agent's half of an update.

use super::check_script;

#[test]
fn what_is_only_prepared_is_fetched_and_started_when_its_turn_comes() {
    check_script(
        "plant c9 t1 web.1 running
         run t1 web.1
         ahead t2 web.1 image=next
         list
         > t1 says #1 running
         > t2 fetch
         > t2 says #1 preparing
         ok t2
         > t2 says #1 prepared
         endpoints
         > t1 Ready #1, t2 Starting #1
         due
         > due None
         at 5000
         list
         run t2 web.1 image=next
         > t2 prepare shop-web-1 from what was fetched
         ok t2
         > t2 says #1 prepared
         > t2 start c1
         > t2 says #1 starting
         ok t2
         > t2 says #1 running
         endpoints
         > t1 Ready #1, t2 Ready #1",
    );
}

#[test]
fn a_fetch_ahead_that_fails_is_tried_again_and_success_forgives() {
    check_script(
        "ahead t1 web.1
         list
         > t1 fetch
         > t1 says #1 preparing
         fetch-fails t1
         > t1 says #1 failed failures=1 retry_at=1000 (no such image)
         due
         > due Some(1000)
         at 1000
         > t1 fetch
         > t1 says #2 preparing failures=1 (no such image)
         fetch-fails t1
         > t1 says #2 failed failures=2 retry_at=3000 (no such image)
         run t1 web.1
         at 2999
         stop t1
         > t1 says #2 stopped failures=2",
    );
}

#[test]
fn a_fetch_ahead_goes_on_when_its_turn_comes_early() {
    check_script(
        "ahead t1 web.1
         list
         > t1 fetch
         > t1 says #1 preparing
         run t1 web.1
         ok t1
         > t1 says #1 prepared
         > t1 prepare shop-web-1 from what was fetched
         refuse t1
         > t1 says #1 failed failures=1 retry_at=100 (port is taken)
         at 100
         > t1 prepare shop-web-1
         > t1 says #2 preparing failures=1 (port is taken)",
    );
}

#[test]
fn what_is_only_prepared_stops_at_once_and_a_fetch_is_given_up() {
    check_script(
        "ahead t1 web.1
         ahead t2 web.2
         list
         > t1 fetch
         > t2 fetch
         > t1 says #1 preparing
         > t2 says #1 preparing
         ok t1
         > t1 says #1 prepared
         stop t1 2000
         > t1 says #1 stopped
         stop t2 2000
         > t1 says #1 stopped
         > t2 cancel
         give-up t2
         list
         > t2 says #1 stopped",
    );
}

#[test]
fn a_restart_of_the_agent_keeps_what_is_prepared() {
    check_script(
        "ahead t1 web.1
         list
         > t1 fetch
         > t1 says #1 preparing
         ok t1
         > t1 says #1 prepared
         restart
         list
         > t1 says #1 prepared
         run t1 web.1
         > t1 prepare shop-web-1 from what was fetched
         > t1 says #6 preparing
         ok t1
         > t1 says #6 preparing
         > t1 start c1
         > t1 says #6 starting",
    );
}

#[test]
fn a_restart_of_the_agent_during_a_fetch_fetches_again() {
    check_script(
        "ahead t1 web.1
         list
         > t1 fetch
         > t1 says #1 preparing
         restart
         list
         > t1 says #1 preparing
         > t1 fetch
         > t1 says #6 preparing",
    );
}

#[test]
fn a_ready_endpoint_drains_before_the_stop_signal() {
    check_script(
        "plant c9 t1 web.1 running
         run t1 web.1
         list
         > t1 says #1 running
         at 100
         stop t1 2000
         endpoints
         > t1 Draining #1
         due
         > due Some(2100)
         at 2099
         list
         at 2100
         > t1 stop c9 2000
         ok t1
         > t1 says #1 exited code=143
         > t1 remove c9
         ok t1
         > t1 says #1 stopped code=143",
    );
}

#[test]
fn a_drain_ends_with_its_process_or_when_it_is_called_off() {
    check_script(
        "plant c8 t1 web.1 running
         plant c9 t2 web.2 running
         run t1 web.1
         run t2 web.2
         list
         > t1 says #1 running
         > t2 says #1 running
         stop t1 2000
         stop t2 2000
         at 500
         exit c8 0
         look t1
         > t1 says #1 exited code=0
         > t1 remove c8
         stop t2 0
         > t2 stop c9 2000",
    );
}

#[test]
fn what_is_not_ready_is_not_drained() {
    check_script(
        "plant c9 t1 web.1 running
         run t1 web.1 check
         run t2 web.2
         list
         > t1 says #1 running starting
         > t2 prepare shop-web-2
         > t2 says #1 preparing
         ok t2
         > t2 says #1 preparing
         > t2 start c1
         > t2 says #1 starting
         stop t1 2000
         > t1 stop c9 2000
         stop t2 2000
         > t2 cancel
         ok t2
         > t2 stop c1 2000",
    );
}

#[test]
fn a_restart_of_the_agent_begins_a_drain_anew() {
    check_script(
        "plant c9 t1 web.1 running
         run t1 web.1
         list
         > t1 says #1 running
         stop t1 2000
         at 1500
         restart
         endpoints
         > t1 Draining #1
         list
         > t1 says #1 running
         due
         > due Some(3500)
         at 3500
         > t1 stop c9 2000",
    );
}

#[test]
fn beside_one_that_drains_another_of_its_slot_is_made() {
    check_script(
        "plant c9 t1 web.1 running
         run t1 web.1
         list
         > t1 says #1 running
         run t2 web.1
         > t2 prepare shop-web-1
         > t2 says #1 preparing
         stop t1 2000
         ok t2
         > t2 says #1 preparing
         > t2 start c1
         > t2 says #1 starting
         at 2000
         > t1 stop c9 2000
         refuse t2
         > t2 says #1 failed failures=1 retry_at=2100 (port is taken)
         > t2 remove c1
         ok t2
         at 2100
         > t2 prepare shop-web-1
         > t2 says #2 preparing failures=1 (port is taken)",
    );
}

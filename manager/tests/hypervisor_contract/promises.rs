//! Every promise of the contract, once: a driver's stage gives each to a macro of its own, so that none can
//! be forgotten for one of them.

macro_rules! every_promise {
    ($keeps:ident) => {
        $keeps! {
            lives::a_machine_answers_at_its_address_with_its_mac,
            lives::the_next_driver_adopts_machines_and_watches_them,
            lives::a_machine_that_exists_is_not_created_again,
            lives::an_orderly_stop_lets_requests_finish,
            lives::a_stopped_program_is_started_again_in_the_same_machine,
            lives::the_console_is_read_from_its_end,
            usage::what_a_machine_uses_is_told,
            usage::what_a_program_used_that_ended_is_not_forgotten,
            deaths::nothing_comes_from_a_killed_machine,
            deaths::nothing_comes_from_a_frozen_machine_until_it_thaws,
            deaths::nothing_comes_from_a_destroyed_machine,
            deaths::destroying_leaves_nothing_and_may_be_repeated,
            deaths::an_address_is_used_again_at_once,
            failures::a_missing_bridge_is_named_and_nothing_is_left,
            failures::a_missing_program_is_named_and_nothing_is_left,
            failures::what_belongs_to_others_is_left_alone,
            failures::unknown_machines_are_not_running,
            spares::a_machine_is_made_of_a_spare_and_is_like_any_other,
            spares::nothing_comes_from_what_was_a_spare_when_it_is_dead,
            spares::the_next_driver_adopts_what_was_made_of_a_spare,
            spares::spares_end_with_their_need,
            spares::a_spare_that_died_is_not_used_and_missed,
            spares::what_keeps_its_disk_is_never_made_of_a_spare,
            failures::machines_do_not_change_what_the_host_is_known_by,
        }
    };
}

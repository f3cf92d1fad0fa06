/* test_buf.c - the byte window. */
#include <criterion/criterion.h>
#include <signal.h>

#include "buf.h"

static uint8_t mem[8];

Test(buf, empty_window_holds_nothing)
{
    struct buf b = {0};

    cr_assert_eq(buf_len(&b), 0);
    cr_assert_eq(buf_room(&b), 0);
    cr_assert_eq(buf_append(&b, "x", 1), 0);
    buf_compact(&b);
    buf_consume(&b, 0);
    buf_commit(&b, 0);
    cr_assert_null(buf_reclaim(&b));
}

Test(buf, lend_and_reclaim)
{
    struct buf b = {0};

    buf_lend(&b, mem, sizeof mem);
    cr_assert_eq(buf_room(&b), 8);
    cr_assert_eq(buf_data(&b), mem);
    cr_assert_eq(buf_reclaim(&b), mem);
    cr_assert_eq(buf_room(&b), 0);
}

Test(buf, append_takes_what_fits)
{
    struct buf b = {0};

    buf_lend(&b, mem, sizeof mem);
    cr_assert_eq(buf_append(&b, "abcde", 5), 5);
    cr_assert_eq(buf_append(&b, "fghij", 5), 3);
    cr_assert_eq(buf_len(&b), 8);
    cr_assert_eq(buf_room(&b), 0);
    cr_assert_arr_eq(buf_data(&b), "abcdefgh", 8);
}

Test(buf, consuming_all_starts_over)
{
    struct buf b = {0};

    buf_lend(&b, mem, sizeof mem);
    buf_append(&b, "abcde", 5);
    buf_consume(&b, 2);
    cr_assert_eq(buf_len(&b), 3);
    cr_assert_eq(buf_room(&b), 3, "what was consumed is not room yet");
    cr_assert_arr_eq(buf_data(&b), "cde", 3);
    buf_consume(&b, 3);
    cr_assert_eq(buf_room(&b), 8, "an empty window is all room");
}

Test(buf, compact_moves_to_the_front)
{
    struct buf b = {0};

    buf_lend(&b, mem, sizeof mem);
    buf_append(&b, "abcdefgh", 8);
    buf_consume(&b, 3);
    buf_compact(&b);
    cr_assert_eq(buf_room(&b), 3);
    cr_assert_eq(buf_data(&b), mem);
    cr_assert_arr_eq(buf_data(&b), "defgh", 5);
    buf_compact(&b);
    cr_assert_eq(buf_len(&b), 5);
}

Test(buf, written_in_place)
{
    struct buf b = {0};

    buf_lend(&b, mem, sizeof mem);
    buf_append(&b, "ab", 2);
    *buf_tail(&b) = 'c';
    buf_commit(&b, 1);
    cr_assert_arr_eq(buf_data(&b), "abc", 3);
}

/* A window that is used wrongly stops the process, in every build. */

Test(buf, no_commit_beyond_room, .signal = SIGABRT)
{
    struct buf b = {0};

    buf_lend(&b, mem, sizeof mem);
    buf_commit(&b, 9);
}

Test(buf, no_consume_beyond_bytes, .signal = SIGABRT)
{
    struct buf b = {0};

    buf_lend(&b, mem, sizeof mem);
    buf_append(&b, "ab", 2);
    buf_consume(&b, 3);
}

Test(buf, no_reclaim_with_bytes, .signal = SIGABRT)
{
    struct buf b = {0};

    buf_lend(&b, mem, sizeof mem);
    buf_append(&b, "ab", 2);
    buf_reclaim(&b);
}

Test(buf, no_lend_over_bytes, .signal = SIGABRT)
{
    struct buf b = {0};

    buf_lend(&b, mem, sizeof mem);
    buf_append(&b, "ab", 2);
    buf_lend(&b, mem, sizeof mem);
}

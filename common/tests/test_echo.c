/* test_echo.c - the echo protocol. */
#include "talk.h"

TestSuite(echo, .fini = talk_end);

static void echoed(size_t in_piece, size_t out_piece, bool borrow, size_t len)
{
    struct talk *t = talk_new(&proto_echo);
    char *bytes = malloc(len + 1);

    for (size_t i = 0; i < len; i++)
        bytes[i] = (char)(i * 7 + i / 251);
    t->in_piece = in_piece;
    t->out_piece = out_piece;
    t->borrow = borrow;
    cr_assert_eq(talk_bytes(t, bytes, len, false), WANT_CLOSE);
    cr_assert_eq(t->len, len);
    cr_assert(len == 0 || memcmp(t->said, bytes, len) == 0);
    talk_end();
    free(bytes);
}

Test(echo, every_byte_back_in_every_piece)
{
    static const size_t pieces[] = {0, 1, 3, 4096, 16383};

    for (size_t i = 0; i < 5; i++)
        for (size_t o = 0; o < 5; o++)
            for (int borrow = 0; borrow < 2; borrow++) {
                echoed(pieces[i], pieces[o], borrow, 0);
                echoed(pieces[i], pieces[o], borrow, 1);
                echoed(pieces[i], pieces[o], borrow, 3 * BUF_SIZE + 17);
            }
}

Test(echo, answers_before_the_close)
{
    struct talk *t = talk_new(&proto_echo);

    cr_assert_eq(talk_all(t, "last words"), WANT_CLOSE);
    cr_assert_str_eq(t->said, "last words");
}

Test(echo, in_flight_while_bytes_are_owed)
{
    struct talk *t = talk_new(&proto_echo);

    cr_assert(!session_in_flight(&t->s));
    talk_lend(t);
    buf_append(&t->s.in, "abc", 3);
    cr_assert(session_in_flight(&t->s), "received and not echoed");
    cr_assert_eq(session_step(&t->s, &t->st), WANT_SEND);
    cr_assert(session_in_flight(&t->s), "echoed and not sent");
    buf_consume(&t->s.out, 2);
    cr_assert_eq(session_step(&t->s, &t->st), WANT_SEND);
    cr_assert(session_in_flight(&t->s));
    buf_consume(&t->s.out, 1);
    cr_assert(!session_in_flight(&t->s));
    cr_assert_eq(session_step(&t->s, &t->st), WANT_RECV);
}

Test(echo, every_receive_starts_the_deadline_anew)
{
    struct talk *t = talk_new(&proto_echo);

    for (int i = 0; i < 3; i++) {
        uint32_t restarts = t->s.restarts;

        talk_say(t, "x");
        cr_assert_neq(t->s.restarts, restarts);
        restarts = t->s.restarts;
        talk_lend(t);
        session_step(&t->s, &t->st);
        cr_assert_eq(t->s.restarts, restarts,
                     "a step without bytes is no sign of life");
    }
}

Test(echo, counts_and_allocates_nothing)
{
    struct talk *t = talk_new(&proto_echo);
    long before;

    t->out_piece = 1;
    talk_say(t, "warm up: the transcript gets its memory");
    before = alloc_count();
    t->len = 0;
    talk_say(t, "four");
    cr_assert_eq(alloc_count(), before);
    cr_assert_eq(t->st.requests, 2);
}

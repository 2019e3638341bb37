#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/* State of the whole process, as many libraries keep it. */
static uint64_t calls;

static int by_value(const void *left, const void *right) {
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

uint64_t sorted_sum(uint64_t *values, size_t length, void (*seen)(void *, uint64_t), void *of) {
    __atomic_fetch_add(&calls, 1, __ATOMIC_RELAXED);
    qsort(values, length, sizeof *values, by_value);
    uint64_t sum = 0;
    for (size_t at = 0; at < length; at++) {
        sum += values[at];
        seen(of, values[at]);
    }
    return sum;
}

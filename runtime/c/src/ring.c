/* memfd_create, seals and mmap; "ATTACH: shared memory" in docs/protocol.md. */
#define _GNU_SOURCE /* memfd_create, F_ADD_SEALS, MADV_DONTFORK */
#include "ring.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "errors.h"

/* A descriptor of memory that can neither shrink nor grow: neither side can make the other one
 * fault. All of it is there from the start. */
static int sealed_memory(size_t bytes)
{
    int made = memfd_create("scanside", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (made < 0)
        return -1;
    int why = posix_fallocate(made, 0, (off_t)bytes);
    if (why == 0 && fcntl(made, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
        why = errno;
    if (why == 0)
        return made;
    close(made);
    errno = why;
    return -1;
}

int32_t scn_ring_make(struct ring *ring, uint32_t slots, size_t slot_bytes, bool shared)
{
    if (slot_bytes > (size_t)PTRDIFF_MAX / slots)
        return scn_system_error("memory for the slots", ENOMEM);
    size_t bytes = slots * slot_bytes;
    int descriptor = -1;
    if (shared) {
        descriptor = scn_descriptor_above_standard(sealed_memory(bytes));
        if (descriptor < 0)
            return scn_system_error("memory shared with the server", errno);
    }
    int kind = shared ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS;
    void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, kind, descriptor, 0);
    if (base == MAP_FAILED) {
        int why = errno;
        if (descriptor >= 0)
            close(descriptor);
        return scn_system_error("memory for the slots", why);
    }
    /* Patients' images go neither to children of fork nor into core files; advice that an old
     * kernel may not take. */
    madvise(base, bytes, MADV_DONTFORK);
    madvise(base, bytes, MADV_DONTDUMP);
    *ring = (struct ring){base, bytes, slot_bytes, descriptor, shared};
    return SCANSIDE_OK;
}

void scn_ring_free(struct ring *ring)
{
    if (ring->descriptor >= 0)
        close(ring->descriptor);
    if (ring->base != NULL)
        munmap(ring->base, ring->bytes);
    *ring = (struct ring){.descriptor = -1};
}

uint8_t *scn_ring_slot(const struct ring *ring, uint32_t slot)
{
    return ring->base + (size_t)slot * ring->slot_bytes;
}

#include "parallel.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <dlfcn.h>
#include <link.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace secateur {
namespace {

void relax() {
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

constexpr int kSpins = 4000;  // some tens of microseconds: longer than between two regions of one layer

template <class Done>
void spin_until(Done done) {
    for (int spins = 0; !done(); ++spins) {
        if (spins < kSpins)
            relax();
        else
            std::this_thread::yield();
    }
}

// ---- the process's own OpenMP runtime

struct OpenMP {
    void (*parallel)(void (*)(void*), void*, unsigned, unsigned) = nullptr;
    int (*thread)() = nullptr;
    int (*threads)() = nullptr;
};

#if defined(__linux__)
int find_runtime(dl_phdr_info* info, std::size_t, void* found) {
    const char* name = info->dlpi_name ? info->dlpi_name : "";
    if (!std::strstr(name, "libgomp") && !std::strstr(name, "libiomp5") && !std::strstr(name, "libomp")) return 0;
    void* library = dlopen(name, RTLD_LAZY | RTLD_NOLOAD);
    if (!library) return 0;
    auto& openmp = *static_cast<OpenMP*>(found);
    openmp.parallel = reinterpret_cast<decltype(openmp.parallel)>(dlsym(library, "GOMP_parallel"));
    openmp.thread = reinterpret_cast<decltype(openmp.thread)>(dlsym(library, "omp_get_thread_num"));
    openmp.threads = reinterpret_cast<decltype(openmp.threads)>(dlsym(library, "omp_get_num_threads"));
    return openmp.parallel && openmp.thread && openmp.threads;
}
#endif

const OpenMP& openmp() {
    static const OpenMP runtime = [] {
        OpenMP found;
#if defined(__linux__)
        const char* wanted = std::getenv("SECATEUR_THREADS");
        if (!(wanted && !std::strcmp(wanted, "pool")) && !dl_iterate_phdr(find_runtime, &found)) found = OpenMP{};
#endif
        return found;
    }();
    return runtime;
}

struct Lent {
    Region region;
    void* context;
    std::atomic<int> arrived{0};
};

void lent_region(void* argument) {
    auto& lent = *static_cast<Lent*>(argument);
    Team team(openmp().thread(), openmp().threads(), lent.arrived);
    lent.region(lent.context, team);
}

// ---- a pool of our own

class Pool {
  public:
    void run(int threads, Region region, void* context) {
        while (int(workers_.size()) < threads - 1) {
            const int rank = int(workers_.size()) + 1;
            workers_.emplace_back([this, rank, seen = epoch_.load()]() mutable { work(rank, seen); });
            workers_.back().detach();
        }
        region_ = region;
        context_ = context;
        size_ = threads;
        arrived_.store(0, std::memory_order_relaxed);
        finished_.store(0, std::memory_order_relaxed);
        epoch_.fetch_add(1, std::memory_order_release);
        epoch_.notify_all();
        Team team(0, threads, arrived_);
        region(context, team);
        // Every worker reports, also those that had no part: then none of them can still be reading this job.
        spin_until([&] { return finished_.load(std::memory_order_acquire) == int(workers_.size()); });
    }

    std::mutex taken;

  private:
    void work(int rank, std::uint32_t seen) {
        for (;;) {
            for (int spins = 0; spins < kSpins && epoch_.load(std::memory_order_acquire) == seen; ++spins) relax();
            epoch_.wait(seen, std::memory_order_acquire);
            seen = epoch_.load(std::memory_order_acquire);
            if (rank < size_) {
                Team team(rank, size_, arrived_);
                region_(context_, team);
            }
            finished_.fetch_add(1, std::memory_order_release);
        }
    }

    std::vector<std::thread> workers_;
    std::atomic<std::uint32_t> epoch_{0};
    std::atomic<int> arrived_{0}, finished_{0};
    Region region_ = nullptr;
    void* context_ = nullptr;
    int size_ = 1;
};

// Never destroyed: its threads may outlive main. A forked child has none of them and starts with a new pool.
Pool& pool() {
    static std::mutex making;
    static Pool* made = nullptr;
    static long owner = 0;
    const std::lock_guard lock(making);
#if defined(__unix__) || defined(__APPLE__)
    const long process = long(getpid());
#else
    const long process = 1;
#endif
    if (!made || owner != process) {
        made = new Pool;
        owner = process;
    }
    return *made;
}

}  // namespace

void Team::barrier() {
    if (size_ == 1) return;
    ++passed_;
    arrived_.fetch_add(1, std::memory_order_acq_rel);
    spin_until([&] { return arrived_.load(std::memory_order_acquire) >= passed_ * size_; });
}

void run_parallel(int threads, Region region, void* context) {
    if (threads > 1) {
        if (openmp().parallel) {
            Lent lent{region, context};
            openmp().parallel(lent_region, &lent, unsigned(threads), 0);
            return;
        }
        Pool& workers = pool();
        if (const std::unique_lock lock(workers.taken, std::try_to_lock); lock.owns_lock()) {
            workers.run(threads, region, context);
            return;
        }
    }
    std::atomic<int> arrived{0};
    Team alone(0, 1, arrived);
    region(context, alone);
}

double round_trip() {
    struct alignas(128) Ball {
        std::atomic<int> thrown{0};
    };
    // A wait for a thread that the system has put aside is in one part or two of them: the middle one is none of those.
    constexpr int throws = 100, parts = 25;
    Ball there, back;
    double nanoseconds = 0;
    parallel(2, [&](Team& team) {
        if (team.size() < 2) return;
        // A pause would be part of what is measured.
        const auto wait = [](const Ball& ball, int count) {
            for (int looks = 0; ball.thrown.load(std::memory_order_acquire) != count;)
                if (++looks > 20'000) std::this_thread::yield();
        };
        std::array<double, parts> taken{};
        for (int part = 0, i = 0; part < parts; ++part) {
            const auto start = std::chrono::steady_clock::now();
            for (const int end = i + throws; i < end;) {
                ++i;
                if (team.rank() == 0) {
                    there.thrown.store(i, std::memory_order_release);
                    wait(back, i);
                } else {
                    wait(there, i);
                    back.thrown.store(i, std::memory_order_release);
                }
            }
            taken[std::size_t(part)] = std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count() / throws;
        }
        std::nth_element(taken.begin(), taken.begin() + parts / 2, taken.end());
        if (team.rank() == 0) nanoseconds = taken[parts / 2];
    });
    return nanoseconds;
}

const char* thread_source() { return openmp().parallel ? "openmp" : "pool"; }

}  // namespace secateur

// A few threads for one region of work.
//
// A process that has an OpenMP runtime already (torch brings one) lends its threads: two teams that spin beside each other
// on the same cores cost a scheduler tick at each region. Where there is none, a small pool of our own does it. Work runs in
// the caller's thread when one thread is asked for, or when the pool is taken by another caller.
#pragma once

#include <atomic>

namespace secateur {

class Team {
  public:
    Team(int rank, int size, std::atomic<int>& arrived) : rank_(rank), size_(size), arrived_(arrived) {}
    int rank() const { return rank_; }
    int size() const { return size_; }
    // All of the team wait for one another.
    void barrier();
    // This thread's share of `count` items: [begin, end).
    template <class I>
    void share(I count, I& begin, I& end) const {
        begin = count * rank_ / size_;
        end = count * (rank_ + 1) / size_;
    }

  private:
    int rank_, size_, passed_ = 0;
    std::atomic<int>& arrived_;
};

using Region = void (*)(void* context, Team& team);
// Run `region` on up to `threads` threads and return when all have ended. The region must not throw.
void run_parallel(int threads, Region region, void* context);

template <class F>
void parallel(int threads, F&& f) {
    run_parallel(threads, [](void* context, Team& team) { (*static_cast<F*>(context))(team); }, &f);
}

// Nanoseconds in which a cache line goes from one thread's core to another's and back; 0 where there is one thread. Cores with a cache in
// common take some 100, others several times as long; a virtual machine's cores move between the two.
double round_trip();

// "openmp" where the process's own runtime is used, else "pool".
const char* thread_source();

}  // namespace secateur

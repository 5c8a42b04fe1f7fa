/* Runs a real AVR bootloader in simavr, in lock step with whoever talks to it over stdin and stdout.
 *
 * Time is the chip's own: it passes only inside R, so a slow computer changes nothing.
 *   W len16 bytes        put bytes on the wire, each with its time at the baud rate
 *   R len16 time32       run until so many bytes have come, or so many microseconds are over
 *                        answer: len16 bytes
 *   X                    external reset
 *   D                    answer: the flash below the bootloader
 *   P operations32       cut the power at the so many-th change of flash from now, 0 for never
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <simavr/avr_uart.h>
#include <simavr/sim_avr.h>
#include <simavr/sim_core.h>
#include <simavr/sim_io.h>

enum { MCUSR = 0x54, EXTRF = 2, MHZ = 16, QUEUE = 1 << 20 };

/* The distribution's Optiboot is 20 bytes longer than the chip's flash has room for behind its start,
 * so this chip has a little more. */
enum { FLASH_END = 0x81ff };

/* How often flash is compared: far more often than a byte comes, so that no two changes are one. */
enum { LOOK_STEPS = 400 };

static avr_t *avr;
static avr_irq_t *input;
static uint8_t sent[QUEUE], heard[QUEUE];
static size_t sent_head, sent_tail, heard_head, heard_tail;
static uint64_t byte_cycles, next_cycle;
static uint32_t cut_in;
static int dead;
static unsigned looks;
static uint8_t *before;

static void on_output(avr_irq_t *irq, uint32_t value, void *param)
{
    (void)irq, (void)param;
    if (heard_tail < QUEUE)
        heard[heard_tail++] = (uint8_t)value;
}

static void quiet(avr_t *which, const int level, const char *format, va_list arguments)
{
    (void)which, (void)level, (void)format, (void)arguments;
}

static void external_reset(void)
{
    avr_reset(avr);
    avr->pc = avr->reset_pc;
    avr->data[MCUSR] = EXTRF;
    avr->state = cpu_Running;
    dead = 0;
    sent_head = sent_tail;
    uint32_t flags = 0;
    avr_ioctl(avr, AVR_IOCTL_UART_SET_FLAGS('0'), &flags);
}

static void step(void)
{
    if (sent_head < sent_tail && avr->cycle >= next_cycle) {
        avr_raise_irq(input, sent[sent_head++]);
        next_cycle = avr->cycle + byte_cycles;
    }
    if (dead || avr->state == cpu_Crashed || avr->state == cpu_Done) {
        avr->cycle += 16;
        return;
    }
    avr_run(avr);
    if (cut_in && ++looks % LOOK_STEPS == 0 && memcmp(before, avr->flash, avr->reset_pc)) {
        memcpy(before, avr->flash, avr->reset_pc);
        if (--cut_in == 0)
            dead = 1;
    }
}

static uint32_t number(int bytes)
{
    uint32_t value = 0;
    while (bytes--)
        value = value << 8 | (uint32_t)(getchar() & 0xff);
    return value;
}

static void run(uint32_t length, uint32_t microseconds)
{
    uint64_t end = avr->cycle + (uint64_t)microseconds * MHZ;
    while (avr->cycle < end && heard_tail - heard_head < length)
        step();
    size_t ready = heard_tail - heard_head;
    if (ready > length)
        ready = length;
    putchar((int)(ready >> 8));
    putchar((int)(ready & 0xff));
    fwrite(heard + heard_head, 1, ready, stdout);
    heard_head += ready;
    if (heard_head == heard_tail)
        heard_head = heard_tail = 0;
}

int main(int count, char **arguments)
{
    if (count != 4)
        return 2;
    FILE *image = fopen(arguments[1], "rb");
    avr = avr_make_mcu_by_name("atmega328p");
    if (!image || !avr)
        return 3;
    avr_global_logger_set(quiet);
    avr->flashend = FLASH_END;
    avr_init(avr);
    avr->frequency = MHZ * 1000000;
    avr->reset_pc = (uint32_t)strtoul(arguments[2], NULL, 0);
    byte_cycles = 10ull * avr->frequency / strtoul(arguments[3], NULL, 0);
    before = malloc(avr->flashend + 1);
    if (!before || fread(avr->flash, 1, avr->flashend + 1, image) != avr->flashend + 1)
        return 4;
    avr->codeend = avr->flashend;
    input = avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_INPUT);
    avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_OUTPUT), on_output, NULL);
    external_reset();
    for (int command; (command = getchar()) != EOF;) {
        uint32_t length = 0;
        switch (command) {
        case 'W':
            if (sent_head == sent_tail) {
                sent_head = sent_tail = 0;
                if (next_cycle < avr->cycle + byte_cycles)
                    next_cycle = avr->cycle + byte_cycles;
            }
            for (length = number(2); length; length--)
                if (sent_tail < QUEUE)
                    sent[sent_tail++] = (uint8_t)getchar();
            break;
        case 'R':
            length = number(2);
            run(length, number(4));
            break;
        case 'X':
            external_reset();
            break;
        case 'D':
            fwrite(avr->flash, 1, avr->reset_pc, stdout);
            break;
        case 'P':
            cut_in = number(4);
            memcpy(before, avr->flash, avr->reset_pc);
            break;
        default:
            return 5;
        }
        fflush(stdout);
    }
    return 0;
}

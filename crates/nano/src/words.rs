//! Names, numbers and dates: lists of our own, and what is composed of syllables and characters.
//!
//! Copying has to work for names that were never seen, so that half of all names are made up from wide alphabets.

use crate::grammar::{Language, Writer};

/// The 3,755 characters of GB 2312's first level: nearly all that ordinary Chinese text is written with.
pub const HANZI: &str = include_str!("words/hanzi.txt");

const SURNAMES: &str = "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董潘袁蔡蒋余于杜叶程魏苏吕丁任卢姚沈钟\
姜崔谭陆范汪廖石金韦贾夏付方邹熊白孟秦邱侯江尹薛阎段雷龙史陶贺顾毛郝龚邵万钱严覃武戴莫孔向常";
const GIVEN: &str = "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超秀霞平刚桂英华玉兰红建文辉力鹏飞宇浩然子轩欣怡雨佳琪梦瑶思远志国庆嘉俊哲博\
文雅婷晨曦若冰海燕春梅冬雪松柏竹青云天翔凯旋瑞祥和安宁康乐诗涵语嫣墨尘一鸣乐山川江河湖月星辰晓东南西北新民立群学义礼智信成功林森木\
水清源沛泽润之恒久长胜利达通顺德厚载仁爱慧敬贤良善美真纯洁莹玲珑珊瑚瑾瑜璐瑛琳琅";

/// Frequent characters, for the names of things: a model as small as this knows them better than all of [`HANZI`].
const FREQUENT: &str = "的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动同工也能下过子说产种面而方后多定\
行学法所民得经十三之进着等部度家电力里如水化高自二理起小物现实加量都两体制机当使点从业本去把性好应开它合还因由其些然前外天政四日那社义事平\
形相全表间样与关各重新线内数正心反你明看原又么利比或但质气第向道命此变条只没结解问意建月公无系军很情者最立代想已通并提直题党程展五果料象员\
革位入常文总次品式活设及管特件长求老头基资边流路级少图山统接知较将组见计别她手角期根论运农指几九区强放决西被干做必战先回则任取据处队南给色\
光门即保治北造百规热领七海口东导器压志世金增争济阶油思术极交受联什认六共权收证改清己美再采转更单风切打白教速花带安场身车例真务具万每目至达\
走积示议声报斗完类八离华名确才科张信马节话米整空元况今集温传土许步群广石记需段研界拉林律叫且究观越织装影算低持音众书布复容儿须际商非验连断\
深难近矿千周委素技备半办青省列习响约支般史感劳便团往酸历市克何除消构府称太准精值号率族维划选标写存候毛亲快效斯院查江型眼王按格养易置派层片\
始却专状育厂京识适属圆包火住调满县局照参红细引听该铁价严";

const FIRST_NAMES: &[&str] = &[
    "Anna", "Ben", "Clara", "David", "Elena", "Felix", "Grace", "Hugo", "Iris", "Jonas", "Kira", "Liam",
    "Maya", "Nora", "Oscar", "Paula", "Quinn", "Rosa", "Simon", "Tara", "Umar", "Vera", "Wanda", "Xenia",
    "Yusuf", "Zoe", "Amir", "Bella", "Carlos", "Diana", "Emil", "Fatima", "Georg", "Hana", "Ivan", "Julia",
    "Karim", "Lena", "Marco", "Nina", "Olga", "Peter", "Rahul", "Sofia", "Tom", "Ursula", "Victor", "Will",
    "Priya", "Kenji", "Mei", "Tomas", "Aisha", "Lukas", "Ingrid", "Mateo", "Dana", "Ravi", "Helen", "Jack",
    "Lucy", "Martin", "Nadia", "Owen", "Petra", "Ruth", "Sam", "Theo", "Violet", "Walter", "Alice", "Bruno",
    "Chloe", "Derek", "Edith", "Frank", "Gina", "Harry", "Isabel", "James", "Kate", "Leo", "Monica", "Nick",
];
const ONSETS: &[&str] = &[
    "B", "Br", "C", "Ch", "D", "Dr", "F", "Fl", "G", "Gr", "H", "J", "K", "Kr", "L", "M", "N", "P", "Pr",
    "Qu", "R", "S", "Sh", "St", "T", "Th", "Tr", "V", "W", "Y", "Z",
];
const VOWELS: &[&str] = &["a", "e", "i", "o", "u", "ai", "ea", "ei", "ie", "oa", "ou"];
const CODAS: &[&str] = &["", "", "n", "r", "l", "s", "m", "k", "t", "nd", "rt", "x", "v"];

const CITIES_EN: &[&str] = &[
    "Berlin",
    "Paris",
    "London",
    "Madrid",
    "Rome",
    "Vienna",
    "Oslo",
    "Lisbon",
    "Dublin",
    "Prague",
    "Athens",
    "Warsaw",
    "Boston",
    "Chicago",
    "Denver",
    "Seattle",
    "Toronto",
    "Sydney",
    "Tokyo",
    "Seoul",
    "Beijing",
    "Shanghai",
    "Hangzhou",
    "Shenzhen",
    "Singapore",
    "Mumbai",
    "Cairo",
    "Nairobi",
    "Lima",
    "Munich",
    "Geneva",
    "Milan",
    "Porto",
    "Bergen",
    "Lyon",
    "Osaka",
    "Delhi",
    "Dallas",
    "Austin",
    "Quebec",
];
const CITIES_ZH: &[&str] = &[
    "北京",
    "上海",
    "广州",
    "深圳",
    "杭州",
    "南京",
    "苏州",
    "成都",
    "重庆",
    "武汉",
    "西安",
    "天津",
    "青岛",
    "大连",
    "厦门",
    "长沙",
    "郑州",
    "昆明",
    "合肥",
    "福州",
    "济南",
    "宁波",
    "无锡",
    "沈阳",
    "哈尔滨",
    "长春",
    "南昌",
    "贵阳",
    "兰州",
    "海口",
    "三亚",
    "桂林",
    "洛阳",
    "扬州",
    "绍兴",
    "温州",
    "珠海",
    "佛山",
    "东莞",
    "烟台",
];
const PLACE_ENDS_EN: &[&str] =
    &["ton", "ville", "burg", "ford", "field", "port", "stad", "mouth", "dale", "by"];
const PLACE_ENDS_ZH: &[&str] = &["市", "县", "镇", "州", "港", "口", "湾", "城", "岭", "山"];

const DAYS_EN: &[&str] = &["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const MONTHS_EN: &[&str] = &[
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS_ZH: &[&str] = &["一", "二", "三", "四", "五", "六", "日"];

/// One of the characters of [`HANZI`].
pub fn hanzi(w: &mut Writer) -> char {
    // lines have 60 characters and an end
    let at = w.below(3755);
    let line = HANZI.lines().nth(at / 60).unwrap_or_default();
    line.chars().nth(at % 60).unwrap_or('问')
}

fn char_of(w: &mut Writer, from: &str) -> char {
    let count = from.chars().count();
    from.chars().nth(w.below(count)).unwrap_or('问')
}

/// A made-up word with a capital.
pub fn made_up(w: &mut Writer) -> String {
    let mut word = String::new();
    for syllable in 0..2 + usize::from(w.chance(20)) {
        let onset = w.one(ONSETS);
        word.push_str(&if syllable == 0 { onset.to_owned() } else { onset.to_lowercase() });
        word.push_str(w.one(VOWELS));
    }
    word + w.one(CODAS)
}

/// A character of a name: mostly a frequent one.
fn name_char(w: &mut Writer) -> char {
    match w.below(8) {
        0 => hanzi(w),
        1..=3 => char_of(w, GIVEN),
        _ => char_of(w, FREQUENT),
    }
}

/// A person's name.
pub fn person(w: &mut Writer) -> String {
    match w.language() {
        Language::En if w.chance(35) => w.one(FIRST_NAMES).to_owned(),
        Language::En if w.chance(25) => {
            let first = w.one(FIRST_NAMES);
            w.entity(&mut |w| format!("{first} {}", made_up(w)))
        }
        Language::En => w.entity(&mut |w| made_up(w)),
        Language::Zh => w.entity(&mut |w| {
            let mut name = String::from(char_of(w, SURNAMES));
            for _ in 0..1 + usize::from(w.chance(60)) {
                name.push(if w.chance(60) { char_of(w, GIVEN) } else { name_char(w) });
            }
            name
        }),
    }
}

/// `count` people with different names.
pub fn people(w: &mut Writer, count: usize) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    while all.len() < count {
        let name = person(w);
        if !all.contains(&name) {
            all.push(name);
        }
    }
    all
}

/// A city's name.
pub fn city(w: &mut Writer) -> String {
    match w.language() {
        Language::En if w.chance(50) => w.one(CITIES_EN).to_owned(),
        Language::En => w.entity(&mut |w| format!("{}{}", made_up(w), w.one(PLACE_ENDS_EN))),
        Language::Zh if w.chance(50) => w.one(CITIES_ZH).to_owned(),
        Language::Zh => w.entity(&mut |w| {
            let (a, b) = (name_char(w), w.chance(40).then(|| name_char(w)));
            format!("{a}{}{}", b.map_or_else(String::new, String::from), w.one(PLACE_ENDS_ZH))
        }),
    }
}

/// A name for a brand, a project or a firm.
pub fn brand(w: &mut Writer) -> String {
    w.entity(&mut |w| match w.language() {
        Language::En => made_up(w),
        Language::Zh => (0..w.number(2, 3)).map(|_| name_char(w)).collect(),
    })
}

/// A day, as people say it when they agree on one. Days are few and known to everybody: none is held out.
pub fn due(w: &mut Writer) -> String {
    match w.language() {
        Language::En => match w.below(9) {
            0 | 1 => w.one(DAYS_EN).to_owned(),
            2 => format!("next {}", w.one(DAYS_EN)),
            3 => w.write("<tomorrow|tonight|noon|the end of the month|the end of the week|next week>", &[]),
            4 | 5 => format!("{} {}", w.number(1, 28), w.one(MONTHS_EN)),
            6 => format!("{} {}", w.one(MONTHS_EN), w.number(1, 28)),
            7 => format!("{} on {}", w.write("<noon|9 am|3 pm|5 pm|10:30>", &[]), w.one(DAYS_EN)),
            _ => iso_date(w),
        },
        Language::Zh => match w.below(9) {
            0 | 1 => format!("周{}", w.one(DAYS_ZH)),
            2 => format!("{}{}", w.write("<下周|本周|这周>", &[]), w.one(DAYS_ZH)),
            3 => w.write("<明天|后天|今晚|月底|年底|下周|下个月|明早|节前>", &[]),
            4..=6 => format!("{}月{}{}", w.number(1, 12), w.number(1, 28), w.write("<日|日|号>", &[])),
            7 => {
                format!("周{}{}", w.one(DAYS_ZH), w.write("<中午|上午|下午三点|下班|晚上八点|上午十点>", &[]))
            }
            _ => iso_date(w),
        },
    }
}

/// `2026-03-14`.
pub fn iso_date(w: &mut Writer) -> String {
    format!("{}-{:02}-{:02}", w.number(2019, 2028), w.number(1, 12), w.number(1, 28))
}

/// A time of the day.
pub fn clock(w: &mut Writer) -> String {
    let minute = ["00", "15", "30", "45"][w.below(4)];
    format!("{}:{minute}", w.number(6, 22))
}

/// Letters and digits, as orders and invoices are numbered.
pub fn code(w: &mut Writer) -> String {
    w.entity(&mut |w| {
        let letters: String = (0..w.number(1, 3)).map(|_| char::from(b'A' + w.below(26) as u8)).collect();
        let digits: String = (0..w.number(3, 5)).map(|_| char::from(b'0' + w.below(10) as u8)).collect();
        if w.chance(50) { format!("{letters}-{digits}") } else { format!("{letters}{digits}") }
    })
}

/// A price, a weight, a count: a number as it stands in texts.
pub fn quantity(w: &mut Writer) -> u32 {
    match w.below(4) {
        0 => w.number(2, 99),
        1 => w.number(10, 60) * 10,
        2 => w.number(100, 999),
        _ => w.number(10, 90) * 100,
    }
}
